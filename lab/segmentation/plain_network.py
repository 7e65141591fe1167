"""The plain network that the method has to beat: trained on painted lesions alone, without any diffusion model.

It ships as weights of its own, or not at all; the evaluation then goes on without it and says so.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from workers.segmentation.mask import MaskRule

FOLDER = "synthetic-unet"


class ScoringNetwork(Protocol):
    """Scores framed slices without a prompt, and brings the rule that was fixed for its scores beforehand."""

    @property
    def rule(self) -> MaskRule:
        """When a score becomes a mask."""
        ...

    def scores(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Give scores in 0..1 of images ``[z, 128, 128]`` in -1..1."""
        ...


def load_plain_network(models: Path) -> ScoringNetwork | None:
    """Load the network from the folder of models; None where it is not there. Raises WeightsMismatch."""
    folder = models / FOLDER
    if not folder.is_dir():
        return None
    from lab.segmentation.plain_unet import PlainNetwork

    return PlainNetwork.load(folder)
