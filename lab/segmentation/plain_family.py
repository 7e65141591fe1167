"""The plain network of a family: what the evaluation compares the family's own with.

It sees single slices and is trained as long, on lesions painted on tumour-free slices alone: no neighbours, and no
round on its own marks. Its rule is chosen on the same tuning part.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from workers import devices, weights
from workers.segmentation.ends import cut_ends
from workers.segmentation.family_calibration import FamilyCalibration, read_calibration
from workers.segmentation.family_segmenter import FamilyNetworks, load_network
from workers.segmentation.framing import frame
from workers.segmentation.mask import kept_components, smooth_across

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from storage.volumes import Volume
    from workers.segmentation.families import Family

FOLDER = "families-plain"
"""Where such networks lie among the models, a folder for each family."""
WEIGHTS = "network.safetensors"


@dataclass(frozen=True, slots=True, eq=False)
class PlainFamily:
    """A trained network of single slices with its rule."""

    networks: FamilyNetworks
    calibration: FamilyCalibration

    @classmethod
    def installed(cls, models: Path, family: Family) -> PlainFamily | None:
        """Load a family's plain network from the folder of all models; None where there is none. WeightsMismatch."""
        folder = models / FOLDER / family.name
        if not folder.is_dir():
            return None
        weights.verify(folder)
        return cls(networks(folder / WEIGHTS, family), read_calibration(folder))

    def segment(self, volume: Volume) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
        """Return mask and scores on the volume's own grid; raises UnsuitableVolume."""
        stack, rule = frame(volume, self.networks.family), self.calibration.rule
        score = smooth_across(self.networks.scores(stack), stack.spacing_mm[0], rule.smoothing_mm)
        on_volume = stack.to_volume(score)
        labels = kept_components(on_volume, stack.orientation.spacing_mm, rule)
        mask = cut_ends(labels, on_volume, self.calibration.end_share) > 0
        return stack.to_stored(mask), stack.to_stored(np.clip(on_volume, 0.0, 1.0))


def single(family: Family) -> Family:
    """Return the family as its plain network sees it: without neighbours, and without a prompt."""
    return replace(family, slices=1, prompted=False)


def networks(file: Path, family: Family, *, dtype: torch.dtype = torch.float32) -> FamilyNetworks:
    """Load a plain network on the processor; raises WeightsMismatch where it does not fit."""
    device = torch.device("cpu")
    return FamilyNetworks(single(family), (devices.frozen(load_network(file, single(family)), device),), device, dtype)
