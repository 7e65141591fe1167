"""Pictures for people: grey slices with the outline of each lesion, as PNG. They carry no text and no identifiers."""

from __future__ import annotations

import io

import numpy as np
from numpy import bool_, float32, intp, uint8
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from storage.domain import Volume

_OUTLINE = np.array([255, 196, 0], dtype=uint8)
_SHORTEST_SIDE = 384
_LONGEST_SIDE = 1024
_COMPRESSION = 3  # the highest level takes a second a picture, for a tenth less


def draw_overlays(volume: Volume, labels: NDArray[uint8], *, most: int) -> tuple[bytes, ...]:
    """Draw the slices with the largest lesion area in the order of the stack, or three plain ones without a lesion.

    ``labels`` is ``[z, y, x]``, 0 for background. Pixels come out square whatever the spacing.
    """
    black, white = _window(volume.voxels)
    return tuple(
        _png(_grey(volume.voxels[z], black, white), labels[z] > 0, volume.geometry.spacing_mm[1:])
        for z in choose_slices(labels, most=most)
    )


def choose_slices(labels: NDArray[uint8], *, most: int) -> tuple[int, ...]:
    """Return up to ``most`` slices by lesion area, in the order of the stack; spread evenly where there is none."""
    areas = np.count_nonzero(labels, axis=(1, 2))
    if not areas.any():
        chosen: NDArray[intp] = np.unique(np.linspace(0, len(areas) - 1, 5).round().astype(intp)[1:4])[:most]
    else:
        chosen = np.sort(np.argsort(-areas, kind="stable")[: min(most, np.count_nonzero(areas))])
    return tuple(int(z) for z in chosen)


def _window(voxels: NDArray[float32]) -> tuple[float, float]:
    """Return black and white so that neither noise nor a few glaring pixels set the scale."""
    low, high = (float(value) for value in np.percentile(voxels, (1.0, 99.7)))
    return (low, high) if high > low else (float(voxels.min()), float(voxels.max()))


def _grey(plane: NDArray[float32], black: float, white: float) -> NDArray[uint8]:
    scaled = (plane - black) / (white - black)
    return np.asarray(np.clip(scaled, 0.0, 1.0) * 255, dtype=uint8)


def _png(grey: NDArray[uint8], mask: NDArray[bool_], pixel_mm: tuple[float, float]) -> bytes:
    size = _picture_size(grey.shape, pixel_mm)
    picture = np.array(Image.fromarray(grey).convert("RGB").resize(size, Image.Resampling.BICUBIC))
    enlarged = np.array(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST), dtype=bool)
    outline = ndimage.binary_dilation(enlarged) & ~ndimage.binary_erosion(enlarged, iterations=1)
    picture[outline] = _OUTLINE
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG", compress_level=_COMPRESSION)
    return buffer.getvalue()


def _picture_size(shape: tuple[int, ...], pixel_mm: tuple[float, float]) -> tuple[int, int]:
    """Return (width, height) in square pixels, neither tiny nor huge."""
    height_mm, width_mm = shape[0] * pixel_mm[0], shape[1] * pixel_mm[1]
    finest = min(pixel_mm)
    scale = max(1.0, _SHORTEST_SIDE * finest / min(height_mm, width_mm)) / finest
    scale = min(scale, _LONGEST_SIDE / max(height_mm, width_mm))
    return max(1, round(width_mm * scale)), max(1, round(height_mm * scale))
