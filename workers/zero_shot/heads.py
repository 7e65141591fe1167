"""What the method asks of a head trained on a model's features, and the prompt as such a head takes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from workers.segmentation.prompts import PromptEncoder, TextEncoder

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class Head(Protocol):
    """Networks trained on a frozen model's features, which score its images for a prompt."""

    @property
    def threshold(self) -> float:
        """Return the score above which a place is lesion."""
        ...

    def score(self, images: Tensor, features: list[Tensor], prompt: Tensor) -> Tensor:
        """Return scores 0..1 of the same size as the images ``[n, 1, *size]``, for what ``prompt [384]`` names."""
        ...


def prompt_vector(prompt: str, modality: str, device: torch.device) -> Tensor:
    """Return the sentence vector ``[384]`` of a prompt; ConfigurationError where it is empty or overlong."""
    return PromptEncoder(TextEncoder.load(), device).pair(prompt, modality).abnormal
