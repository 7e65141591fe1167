"""Slices for a model of images: the square box around the patient, in the model's own number of pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from workers.errors import ModelUnsuitable, UnsuitableVolume
from workers.foundation import field_of_view
from workers.segmentation import grid
from workers.zero_shot import frame, intensity

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from storage.volumes import Volume
    from workers.foundation.card import ModelCard
    from workers.foundation.contract import FoundationModel
    from workers.segmentation.grid import Crop, ModelGrid

    FloatArray = NDArray[np.float32]

DEFAULT_SIDE = 128
SIDES = (16, 2048)
FLAT = 2


@dataclass(frozen=True, slots=True, eq=False)
class SliceFrame:
    """A volume's axial slices, each a tile."""

    images: Tensor
    tissue: Tensor
    spacing_mm: tuple[float, ...]
    grid: ModelGrid

    def to_volume(self, maps: Tensor) -> FloatArray:
        """Return maps on the volume's own grid; 0 outside the box."""
        stack = maps[:, 0].float().cpu().numpy()
        return self.grid.to_stored(self.grid.to_volume(stack))


def place_slices(volume: Volume, model: FoundationModel) -> SliceFrame:
    """Return a volume's slices as a model of images takes them.

    Slices are turned as in ``segmentation.grid`` (z to the head, y to the back). The box is widened where the card asks
    for more millimetres, never narrowed: FieldOfViewMismatch names what it excludes. UnsuitableVolume as there.
    """
    frame.require_known_extent(model.card, volume)
    grid.check(volume)
    turn = grid.find_orientation(volume.geometry)
    voxels = np.ascontiguousarray(turn.apply(volume.voxels), dtype=np.float32)
    size, pixel_mm = side_of(model), turn.spacing_mm[1:]
    box = grid.find_crop(voxels, (pixel_mm[0], pixel_mm[1]), modality=volume.modality)
    if box is None:
        raise UnsuitableVolume("the volume shows no signal above its background")
    black, white = intensity.black_and_white(model.card, voxels, modality=volume.modality)
    crop = replace(_widened(box, turn.spacing_mm, model.card, size), black=black, white=white)
    spacing = (crop.height * pixel_mm[0] / size,) * FLAT
    field_of_view.check(model.card, (size, size), spacing, modality=volume.modality, factor=model.factor)
    shares = (grid.to_model(voxels, crop, size) + 1.0) / 2.0
    images = intensity.shown(torch.from_numpy(shares)[:, None], model.card.value_range)
    tissue = torch.from_numpy(frame.tissue_of(shares))[:, None]
    placed = grid.ModelGrid(turn, crop, (voxels.shape[0], voxels.shape[1], voxels.shape[2]))
    return SliceFrame(images, tissue, spacing, placed)


def side_of(model: FoundationModel) -> int:
    """Return the side in pixels of a model's images: its card's ``size``, else its autoencoder's, else 128.

    It is rounded up to a multiple of the model's factor.
    """
    config = getattr(getattr(model, "autoencoder", None), "config", None)
    told = model.card.options.get("size") or getattr(config, "sample_size", None) or DEFAULT_SIDE
    if not isinstance(told, int) or not SIDES[0] <= told <= SIDES[1]:
        raise ModelUnsuitable(
            f"the option size of {model.card.name} is {told}: write a side of {SIDES[0]} to {SIDES[1]} pixels"
        )
    return math.ceil(told / model.factor) * model.factor


def _widened(box: Crop, spacing_mm: tuple[float, float, float], card: ModelCard, size: int) -> Crop:
    """Return the box with its sides at least as long as the least that the card allows."""
    view, side_mm = card.field_of_view, box.height * spacing_mm[1]
    least = [side_mm]
    if view is not None and view.extent_mm is not None:
        least += view.extent_mm.low
    if view is not None and view.spacing_mm is not None:
        least += [low * size for low in view.spacing_mm.low]
    height, width = (max(least) / step for step in spacing_mm[1:])
    top, left = box.top - (height - box.height) / 2, box.left - (width - box.width) / 2
    return replace(box, top=top, left=left, height=height, width=width)
