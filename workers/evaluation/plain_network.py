"""The plain network that the method has to beat: trained on painted lesions alone, without any diffusion model.

It ships as weights of its own, or not at all; the evaluation then goes on without it and says so.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from workers.errors import WeightsMismatch
from workers.segmentation.calibration import CALIBRATION_NAME
from workers.segmentation.refine import MaskRule

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FOLDER = "synthetic-unet"
_MODULE = "workers.segmentation.plain"


class ScoringNetwork(Protocol):
    """Scores framed slices without a prompt."""

    def scores(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Give scores in 0..1 of images ``[z, 128, 128]`` in -1..1."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class PlainBaseline:
    """The network with the rule that was fixed for it beforehand."""

    network: ScoringNetwork
    rule: MaskRule


def load_plain_baseline(models: Path) -> PlainBaseline | None:
    """Load the network from the folder of models; None where it is not there. Raises WeightsMismatch."""
    folder = models / FOLDER
    if not folder.is_dir():
        return None
    try:
        known = json.loads((folder / CALIBRATION_NAME).read_text(encoding="utf-8"))
        rule = MaskRule(
            threshold=float(known["threshold"]),
            peak=0.0,
            minimum_ml=float(known["minimum_ml"]),
            smoothing_mm=float(known.get("smoothing_mm", 0.0)),
            share=0.0,
        )
        network: ScoringNetwork = import_module(_MODULE).PlainNetwork.load(folder)
    except (ImportError, AttributeError, OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsMismatch(f"the weights in {folder.name} do not fit this version of oncue") from error
    return PlainBaseline(network, rule)
