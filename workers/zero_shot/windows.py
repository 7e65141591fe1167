"""Windows for a model of volumes: turned to its axes, resampled to its spacing, whole or in overlapping parts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from workers.errors import ModelUnsuitable
from workers.foundation import field_of_view
from workers.foundation.field_of_view import PROJECT_AXES, turned
from workers.segmentation import grid
from workers.zero_shot import frame, intensity

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from storage.volumes import Volume
    from workers.foundation.contract import FoundationModel
    from workers.segmentation.grid import Orientation

    FloatArray = NDArray[np.float32]

    Size = tuple[int, ...]

HALVINGS = 8
"""By how much the denoisers of MAISI shrink a latent; sides are multiples of it times the model's factor."""
OVERLAP = 0.25
"""Least share of a window that the next one covers as well."""
BLUR = 0.35
"""Standard deviation of the blur before shrinking, per excess of the shrinking factor over 1."""


@dataclass(frozen=True, slots=True, eq=False)
class WindowFrame:
    """A volume's overlapping windows, each a tile; ``corners`` are where they begin in the padded volume."""

    images: Tensor
    tissue: Tensor
    spacing_mm: tuple[float, ...]
    corners: tuple[Size, ...]
    padded: Size
    """Size of the resampled volume with its padding, in the model's axes."""
    held: Size
    """Its size without padding, canonical axes."""
    shape: Size
    """Size of the volume itself, canonical axes."""
    axes: str
    turn: Orientation

    def to_volume(self, maps: Tensor) -> FloatArray:
        """Return maps on the volume's own grid, blended where windows overlap."""
        joined = turned(self._joined(maps.float().cpu()), PROJECT_AXES, held=self.axes)
        unpadded = joined[(slice(None), slice(None), *(slice(side) for side in self.held))]
        whole = functional.interpolate(unpadded, self.shape, mode="trilinear", align_corners=False)
        return self.turn.undo(whole[0, 0].numpy()).copy()

    def _joined(self, maps: Tensor) -> Tensor:
        size = tuple(maps.shape[2:])
        weight = _blend(size)
        total, weights = (torch.zeros(1, 1, *self.padded) for _ in range(2))
        for tile, corner in zip(maps, self.corners, strict=True):
            z, y, x = (slice(start, start + side) for start, side in zip(corner, size, strict=True))
            total[0, 0, z, y, x] += tile[0] * weight
            weights[0, 0, z, y, x] += weight
        return total / weights


def place_windows(volume: Volume, model: FoundationModel) -> WindowFrame:
    """Return a volume's windows as a model of volumes takes them.

    A spacing beyond the card's limits is resampled to the nearest limit, and an extent beyond them is shown in windows;
    a volume too small for them is refused: FieldOfViewMismatch. UnsuitableVolume as in ``segmentation.grid``.
    """
    card, axes = model.card, model.card.axes or PROJECT_AXES
    frame.require_known_extent(card, volume)
    grid.check(volume)
    turn = grid.find_orientation(volume.geometry)
    voxels = np.ascontiguousarray(turn.apply(volume.voxels), dtype=np.float32)
    low, high = intensity.black_and_white(card, voxels, modality=volume.modality)
    spacing = _allowed_spacing(model, turn.spacing_mm, axes)
    shares = _resampled((voxels - low) / (high - low), turn.spacing_mm, spacing)
    held = shares.shape
    stack = torch.from_numpy(np.stack([np.clip(shares, 0.0, 1.0), frame.tissue_of(shares)]))[:, None]
    # Padding follows the last voxels of the canonical axes, and comes first where the model's axis is reversed.
    wanted = field_of_view.turned_sizes(held, axes)
    size, padded = _window_size(model, wanted, field_of_view.turned_sizes(spacing, axes))
    stack = turned(_padded(stack, field_of_view.turned_sizes(padded, PROJECT_AXES, held=axes)), axes)
    told = field_of_view.turned_sizes(spacing, axes)
    field_of_view.check(card, size, told, modality=volume.modality, factor=model.factor)
    corners = tuple(product(*(_starts(whole, part) for whole, part in zip(padded, size, strict=True))))
    tiles = torch.stack([_cut(stack, corner, size) for corner in corners], dim=1)
    images = intensity.shown(tiles[0], card.value_range)
    return WindowFrame(images, tiles[1] > 0, told, corners, padded, held, voxels.shape, axes, turn)


def _allowed_spacing(model: FoundationModel, spacing_mm: tuple[float, ...], axes: str) -> tuple[float, ...]:
    view = model.card.field_of_view
    if view is None or view.spacing_mm is None:
        return spacing_mm
    limits = [
        field_of_view.turned_sizes(ends, PROJECT_AXES, held=axes)
        for ends in (view.spacing_mm.low, view.spacing_mm.high)
    ]
    return tuple(min(max(step, low), high) for step, low, high in zip(spacing_mm, *limits, strict=True))


def _resampled(voxels: FloatArray, held_mm: tuple[float, ...], wanted_mm: tuple[float, ...]) -> FloatArray:
    ratios = [wanted / held for held, wanted in zip(held_mm, wanted_mm, strict=True)]
    if all(math.isclose(ratio, 1.0, rel_tol=1e-6) for ratio in ratios):
        return voxels
    blurred = ndimage.gaussian_filter(voxels, [BLUR * max(0.0, ratio - 1.0) for ratio in ratios])
    size = [max(1, round(side / ratio)) for side, ratio in zip(voxels.shape, ratios, strict=True)]
    grown = functional.interpolate(torch.from_numpy(blurred)[None, None], size, mode="trilinear", align_corners=False)
    resampled: FloatArray = grown[0, 0].numpy()
    return resampled


def _window_size(model: FoundationModel, size: Size, spacing_mm: tuple[float, ...]) -> tuple[Size, Size]:
    """Return the size of a window and that of the padded volume, both in the model's axes."""
    multiple = int(model.card.options.get("multiple", HALVINGS * model.factor))
    view, told = model.card.field_of_view, model.card.options.get("size")
    if told is not None:
        window = tuple(int(side) for side in told)
    else:
        window = tuple(math.ceil(side / multiple) * multiple for side in size)
        if view is not None and view.extent_mm is not None:
            most = [
                int(high / step) // multiple * multiple
                for high, step in zip(view.extent_mm.high, spacing_mm, strict=True)
            ]
            window = tuple(min(side, limit) for side, limit in zip(window, most, strict=True))
    if len(window) != len(size) or min(window) < 1:
        raise ModelUnsuitable(f"no window of {model.card.name} fits its field of view: correct size or multiple")
    return window, tuple(max(side, part) for side, part in zip(size, window, strict=True))


def _padded(stack: Tensor, size: Size) -> Tensor:
    missing = [whole - side for whole, side in zip(size, stack.shape[2:], strict=True)]
    return functional.pad(stack, [edge for add in reversed(missing) for edge in (0, add)])


def _starts(whole: int, part: int) -> list[int]:
    """Return where the windows of an axis begin: evenly, at least ``OVERLAP`` shared."""
    if whole <= part:
        return [0]
    count = 1 + math.ceil((whole - part) / max(1.0, part * (1.0 - OVERLAP)))
    return [round(index * (whole - part) / (count - 1)) for index in range(count)]


def _cut(stack: Tensor, corner: Size, size: Size) -> Tensor:
    places = tuple(slice(start, start + side) for start, side in zip(corner, size, strict=True))
    return stack[(slice(None), slice(None), *places)]


def _blend(size: Size) -> Tensor:
    """Return weights that fall from a window's middle to its edges, never to 0."""
    weight = torch.ones(size)
    for axis, side in enumerate(size):
        ramp = 1.0 - (torch.arange(side) + 0.5 - side / 2).abs() / (side / 2 + 1)
        weight = weight * ramp.view([-1 if index == axis else 1 for index in range(len(size))])
    return weight
