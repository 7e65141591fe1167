"""The head that may lie in a foundation model's folder, and the prompt as it takes it."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Protocol

from workers.segmentation.prompts import PromptEncoder, TextEncoder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import torch
    from torch import Tensor

    from workers.foundation.contract import FoundationModel

HEAD_MODULE = "workers.zero_shot.feature_head"


class Head(Protocol):
    """Networks trained on a frozen model's features, which score its images for a prompt."""

    @property
    def threshold(self) -> float:
        """Return the score above which a place is lesion."""
        ...

    def score(self, images: Tensor, features: list[Tensor], prompt: Tensor) -> Tensor:
        """Return scores 0..1 of the same size as the images ``[n, 1, *size]``, for what ``prompt [384]`` names."""
        ...


def head_in(folder: Path, model: FoundationModel) -> Head | None:
    """Return the head of a model's folder, or None where there is none, or none can be read by this installation."""
    if find_spec(HEAD_MODULE) is None:
        return None
    load: Callable[[Path, FoundationModel], Head | None] = import_module(HEAD_MODULE).load_head
    return load(folder, model)


def prompt_vector(prompt: str, modality: str, device: torch.device) -> Tensor:
    """Return the sentence vector ``[384]`` of a prompt; ConfigurationError where it is empty or overlong."""
    return PromptEncoder(TextEncoder.load(), device).pair(prompt, modality).abnormal
