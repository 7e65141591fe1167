"""Pictures of a report: one slice with both outlines, and the maps beside it, as PNG without any text."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from scipy import ndimage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lab.segmentation.case_store import ShownSlice

    Colour = tuple[int, int, int]
    Bytes = NDArray[np.uint8]

TRUTH_COLOUR = (86, 180, 233)
"""Sky blue of Okabe and Ito's palette, which stays distinct from the orange in colour-blind eyes."""
FOUND_COLOUR = (230, 159, 0)
SIDE = 320
"""Pixels along the longer side of a picture."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A PNG and what it shows."""

    caption: str
    png: bytes


def draw(shown: ShownSlice) -> tuple[Picture, ...]:
    """Draw the slice with both outlines, the attention map, the pseudo-healthy image and the residual."""
    size = _size(shown.image.shape, shown.pixel_mm)
    grey = _resized(_windowed(shown.image), size)
    outlined = np.repeat(grey[..., None], 3, axis=-1)
    for mask, colour in ((shown.truth, TRUTH_COLOUR), (shown.found, FOUND_COLOUR)):
        outlined[_outline(mask, size)] = colour
    return (
        Picture("truth (blue) and found (orange)", _png(outlined)),
        Picture("image", _png(grey)),
        Picture("attention", _png(_resized(_unit(shown.attention), size))),
        Picture("pseudo-healthy image", _png(_resized(_unit(shown.healthy), size))),
        Picture("residual", _png(_resized(_unit(shown.residual), size))),
    )


def _windowed(plane: NDArray[np.float32]) -> Bytes:
    """Set black and white so that neither noise nor a few glaring pixels set the scale."""
    finite = np.nan_to_num(plane)
    low, high = (float(value) for value in np.percentile(finite, (1.0, 99.7)))
    return _unit((finite - low) / (high - low)) if high > low else np.zeros(plane.shape, np.uint8)


def _unit(plane: NDArray[np.float32]) -> Bytes:
    return np.asarray(np.clip(plane, 0.0, 1.0) * 255, dtype=np.uint8)


def _outline(mask: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    enlarged = np.array(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST), dtype=bool)
    return np.asarray(enlarged & ~ndimage.binary_erosion(enlarged, iterations=2), dtype=bool)


def _resized(grey: Bytes, size: tuple[int, int]) -> Bytes:
    return np.array(Image.fromarray(grey).resize(size, Image.Resampling.BILINEAR))


def _size(shape: tuple[int, ...], pixel_mm: tuple[float, float]) -> tuple[int, int]:
    """Return (width, height) of the picture, whose pixels are square."""
    height_mm, width_mm = shape[0] * pixel_mm[0], shape[1] * pixel_mm[1]
    scale = SIDE / max(height_mm, width_mm)
    return max(1, round(width_mm * scale)), max(1, round(height_mm * scale))


def _png(pixels: Bytes) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()
