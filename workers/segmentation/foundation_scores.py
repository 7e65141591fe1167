"""Scores of the shipped foundation model's heads, for a family whose images are framed as that model frames heads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from storage.progress import unheard
from workers import weights
from workers.segmentation import grid, maps, networks
from workers.segmentation.maps import Models
from workers.segmentation.model import LatentDiffusion
from workers.segmentation.prompts import PromptEncoder, TextEncoder

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from numpy.typing import NDArray

    from workers.segmentation.framing import FramedStack
    from workers.segmentation.prompts import PromptPair


@dataclass(frozen=True, slots=True, eq=False)
class FoundationScores:
    """Scores stacks with the heads on top of the frozen model, for one prompt; ``weights_sha256`` says which."""

    models: Models
    prompt: PromptPair
    weights_sha256: str

    @classmethod
    def load(
        cls, folder: Path, prompts: PromptEncoder | None = None, *, device: torch.device, dtype: torch.dtype
    ) -> FoundationScores:
        """Check the manifest and load what scores, asked for any tumour; raises WeightsMismatch."""
        from workers import devices

        manifest = weights.verify(folder)
        diffusion = LatentDiffusion.from_folder(folder, device=device, dtype=dtype)
        heads = tuple(devices.frozen(network, device) for network in networks.load_all(folder))
        known = prompts or PromptEncoder(TextEncoder.load(), device)
        return cls(Models(diffusion, heads), known.pair("tumor"), manifest.sha256)

    def scores(self, stack: FramedStack) -> NDArray[np.float32]:
        """Return the probability of a lesion at each pixel of a framed stack of 128 x 128 pixels."""
        found = maps.compute(
            self.models,
            stack.images,
            maps.shown_slices(grid.skull_masks(stack.images)),
            self.prompt,
            spacing_z_mm=stack.spacing_mm[0],
            mirrored=False,
            denoiser_attention=False,
            on_progress=unheard,
        )
        return np.asarray(found.head * stack.body, dtype=np.float32)
