"""A foundation model's folder as an analyser."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from workers.zero_shot.segmenter import FoundationSegmenter

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import torch

    from storage.domain import Segmentation
    from storage.volumes import Volume


@dataclass(frozen=True, slots=True)
class FoundationAnalyser:
    """Segments with a frozen model of any maker what a prompt names."""

    segmenter: FoundationSegmenter
    prompt: str

    def segment(self, volume: Volume, *, check: Callable[[], None]) -> Segmentation:
        """Return mask and scores; ``check`` is called between steps, and what it raises let through."""
        return self.segmenter.segment(volume, prompt=self.prompt, check=check)


def open_foundation_analyser(
    folder: Path, *, device: torch.device, dtype: torch.dtype, prompt: str
) -> FoundationAnalyser:
    """Return an analyser that looks for ``prompt``; raises as ``workers.foundation.folders.open_foundation`` does."""
    return FoundationAnalyser(FoundationSegmenter.load(folder, device=device, dtype=dtype), prompt)
