"""Between a volume's own grid and the one that a bundle's transforms make of it, by their affines.

MONAI's arrays are ``[channel, i, j, k]`` with an affine from voxels to RAS millimetres; ours are ``[z, y, x]``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy import float32, float64, uint8
from numpy.typing import NDArray

from storage.volumes import Geometry, Volume

if TYPE_CHECKING:
    import torch

MOST_VALUES = 2**24
"""Probabilities that are resampled at once: 64 MB of float32."""
BEYOND = 1.0
"""Voxels of the model's grid by which a place may lie outside it and still take the value at its border."""


def ras_affine(geometry: Geometry) -> NDArray[float64]:
    """Return the 4 x 4 matrix from voxel numbers x, y, z to RAS millimetres."""
    z_mm, y_mm, x_mm = geometry.spacing_mm
    affine = np.eye(4)
    affine[:3, 0] = np.array(geometry.row_direction) * x_mm
    affine[:3, 1] = np.array(geometry.column_direction) * y_mm
    affine[:3, 2] = np.array(geometry.slice_direction) * z_mm
    affine[:3, 3] = geometry.origin_mm
    affine[:2] *= -1  # LPS to RAS
    return affine


def as_loaded(volume: Volume, *, channel_first: bool) -> Any:
    """Return a volume as MONAI's LoadImage returns an image: a MetaTensor ``[x, y, z]``, or ``[1, x, y, z]``."""
    import torch
    from monai.data.meta_tensor import MetaTensor
    from monai.utils.enums import SpaceKeys

    voxels = torch.from_numpy(np.array(volume.voxels.transpose(2, 1, 0), dtype=float32, order="C"))
    affine = torch.from_numpy(ras_affine(volume.geometry))
    meta = {
        "original_channel_dim": 0 if channel_first else "no_channel",
        "original_affine": affine.clone(),
        "spatial_shape": voxels.shape,
        "space": SpaceKeys.RAS,
    }
    return MetaTensor(voxels[None] if channel_first else voxels, affine=affine, meta=meta)


@dataclass(frozen=True, slots=True, eq=False)
class Slab:
    """Probabilities on planes ``first`` to ``last`` (exclusive) of the volume's own grid.

    ``values`` is float32 ``[channel, z, y, x]``; ``inside`` bool ``[z, y, x]`` is where the model looked.
    """

    first: int
    last: int
    values: torch.Tensor
    inside: torch.Tensor


def slabs(probabilities: torch.Tensor, affine: NDArray[float64], volume: Volume) -> Iterator[Slab]:
    """Yield probabilities ``[channel, i, j, k]`` resampled linearly onto a volume's grid, some planes at a time."""
    import torch
    from torch.nn.functional import grid_sample

    depth, rows, columns = volume.voxels.shape
    to_model = np.linalg.inv(affine) @ ras_affine(volume.geometry)
    planes = max(1, MOST_VALUES // (rows * columns * max(4, len(probabilities))))
    sizes = probabilities.shape[1:]
    for first in range(0, depth, planes):
        last = min(depth, first + planes)
        places = _places(to_model, (first, last), (rows, columns), probabilities.device)
        inside = torch.ones(places[0].shape, dtype=torch.bool, device=probabilities.device)
        for place, size in zip(places, sizes, strict=True):
            inside &= (place >= -BEYOND) & (place <= size - 1 + BEYOND)
        scaled = [2 * place / max(1, size - 1) - 1 for place, size in zip(places, sizes, strict=True)]
        grid = torch.stack(scaled[::-1], dim=-1)[None]
        values = grid_sample(probabilities[None], grid, mode="bilinear", padding_mode="border", align_corners=True)[0]
        yield Slab(first, last, values, inside)


def _places(
    to_model: NDArray[float64], span: tuple[int, int], plane: tuple[int, int], device: torch.device
) -> list[torch.Tensor]:
    """Return where each voxel of some planes lies along i, j and k of the model's grid, each ``[z, y, x]``."""
    import torch

    z = torch.arange(*span, dtype=torch.float32, device=device)[:, None, None]
    y = torch.arange(plane[0], dtype=torch.float32, device=device)[None, :, None]
    x = torch.arange(plane[1], dtype=torch.float32, device=device)[None, None, :]
    return [float(row[0]) * x + float(row[1]) * y + float(row[2]) * z + float(row[3]) for row in to_model[:3]]


@dataclass(frozen=True, slots=True)
class Reading:
    """How labels follow from a network's output: softmax or sigmoid, then the highest or whatever passes a threshold.

    A label's value is its channel plus ``offset``; ``threshold`` is None where the highest channel wins.
    """

    softmax: bool
    threshold: float | None
    offset: int


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """Labels uint8 and lesion probability float32 in 0..1, both ``[z, y, x]`` on a volume's own grid."""

    labels: NDArray[uint8]
    lesion: NDArray[float32]


def draw(
    probabilities: torch.Tensor, affine: NDArray[float64], *, volume: Volume, reading: Reading, lesions: list[int]
) -> Drawn:
    """Return what a network saw, on a volume's own grid; ``lesions`` are the values of lesion labels."""
    labels = np.zeros(volume.voxels.shape, dtype=uint8)
    lesion = np.zeros(volume.voxels.shape, dtype=float32)
    channels = [value - reading.offset for value in lesions]
    for slab in slabs(probabilities, affine, volume):
        span = slice(slab.first, slab.last)
        labels[span] = (_labels(slab.values, reading) * slab.inside).cpu().numpy()
        if channels:
            chosen = slab.values[channels]
            joined = chosen.sum(dim=0) if reading.softmax else chosen.amax(dim=0)
            lesion[span] = (joined.clamp(0, 1) * slab.inside).cpu().numpy()
    return Drawn(labels, lesion)


def _labels(values: torch.Tensor, reading: Reading) -> torch.Tensor:
    if reading.threshold is None:
        return values.argmax(dim=0) + reading.offset
    first = 1 - reading.offset  # behind the channel for background, if there is one
    highest, channel = values[first:].max(dim=0)
    return (channel + 1) * (highest >= reading.threshold)
