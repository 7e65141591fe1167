"""Colour images as the brightness that a reader sees: ultrasound and captures are grey pictures stored in colour."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import float32
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut

from workers.errors import UnsuitableVolume

COLOUR_KEYWORDS = (
    "PhotometricInterpretation",
    "BitsStored",
    "RedPaletteColorLookupTableDescriptor",
    "GreenPaletteColorLookupTableDescriptor",
    "BluePaletteColorLookupTableDescriptor",
    "RedPaletteColorLookupTableData",
    "GreenPaletteColorLookupTableData",
    "BluePaletteColorLookupTableData",
    "SegmentedRedPaletteColorLookupTableData",
    "SegmentedGreenPaletteColorLookupTableData",
    "SegmentedBluePaletteColorLookupTableData",
)
PALETTE = "PALETTE COLOR"
_WEIGHTS = np.array([0.299, 0.587, 0.114], dtype=float32)
"""Of red, green and blue in the luminance of PS3.3 C.7.6.3.1.2 (ITU-R BT.601)."""
_LUMINANCE_FIRST = frozenset({"YBR_FULL", "YBR_FULL_422"})
_RED_GREEN_BLUE = frozenset({"RGB", "YBR_ICT", "YBR_RCT"})
"""The decoders of JPEG 2000 undo its own colour transforms."""
_WHITE = 255.0


def is_colour(photometric_interpretation: str) -> bool:
    """Say whether an image is stored in colour, as samples or by a palette."""
    return not photometric_interpretation.startswith("MONOCHROME")


def luminance(frame: NDArray[np.integer[Any]], dataset: Dataset, *, transformed: bool) -> NDArray[float32]:
    """Return the brightness of one decoded frame, float32 ``[rows, columns]`` in 0..255. Call it inside ``parsing``.

    ``transformed`` says that the frame came from a JPEG stream that holds luminance and chrominance, whatever the
    header calls it. UnsuitableVolume for a colour model that is not read, or one value everywhere.
    """
    model = str(dataset.get("PhotometricInterpretation", "")).strip().upper()
    if model == PALETTE:
        colours = apply_color_lut(frame, dataset)
        grey = colours[..., :3].astype(float32) @ _WEIGHTS / float32(np.iinfo(colours.dtype).max)
    elif model in _LUMINANCE_FIRST or (transformed and model == "RGB"):
        grey = _samples(frame, model)[..., 0].astype(float32) / float32(_highest(dataset))
    elif model in _RED_GREEN_BLUE:
        grey = _samples(frame, model).astype(float32) @ _WEIGHTS / float32(_highest(dataset))
    else:
        raise UnsuitableVolume(f"the colour model {model[:16] or 'is missing:'} is not read; send RGB or grey levels")
    if grey.min() == grey.max():
        raise UnsuitableVolume("every pixel has the same value; there is nothing to analyse")
    return np.asarray(np.clip(grey, 0, 1) * float32(_WHITE), dtype=float32)


def _samples(frame: NDArray[np.integer[Any]], model: str) -> NDArray[np.integer[Any]]:
    if frame.ndim != 3 or frame.shape[2] != 3:  # noqa: PLR2004 - rows, columns and three samples
        raise UnsuitableVolume(f"an image in {model} has three samples for each pixel, this one has not")
    return frame


def _highest(dataset: Dataset) -> int:
    return (1 << int(dataset.get("BitsStored") or 8)) - 1
