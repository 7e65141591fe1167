"""From stored values to what a reader sees: modality LUT, values of interest, polarity (PS3.3 C.11.1, C.11.2).

A projection has no unit that means the same on two devices, so it is analysed as it is shown: 0 is black, 255 is white.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy import bool_, float32
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from workers.errors import UnsuitableVolume
from workers.imaging.borders import undeclared_background
from workers.imaging.decimals import decimal, decimals
from workers.imaging.lookup_tables import read_table
from workers.imaging.padding import read_padding
from workers.imaging.shutters import SHUTTER_KEYWORDS, behind_shutters

VOI_KEYWORDS = (
    "PhotometricInterpretation",
    "PixelRepresentation",
    "BitsAllocated",
    "BitsStored",
    "RescaleSlope",
    "RescaleIntercept",
    "ModalityLUTSequence",
    "VOILUTSequence",
    "VOILUTFunction",
    "WindowCenter",
    "WindowWidth",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    *SHUTTER_KEYWORDS,
)
WHITE = 255.0
WINDOW_IGNORED = "window_ignored"
TABLE_IGNORED = "lut_ignored"
_BYTE = 8
_FRAMED = 0.9


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """What a reader sees: float32 ``[rows, columns]`` in 0..255, and coded notes on what was set aside."""

    values: NDArray[float32]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Window:
    """Centre, width and function of the first window."""

    centre: float
    width: float
    function: str


def shown(stored: NDArray[np.integer[Any]], dataset: Dataset) -> Shown:
    """Return one monochrome frame as it is shown. Call it inside ``parsing``.

    Padding, declared or seen, and what is behind a shutter are black whatever the polarity and count in no range;
    MONOCHROME1 is inverted. The first VOI LUT is used, else the first window, else the whole range: that of the bits
    for 8-bit images, that of the image for others. A table that is broken, or a window that shows nothing, is set aside
    with a note. UnsuitableVolume where the image has one value, or not finite ones.
    """
    notes: list[str] = []
    values = _modality(stored, dataset, notes)
    inverted = str(dataset.get("PhotometricInterpretation", "")).strip().upper() == "MONOCHROME1"
    padded = _padded(stored, values, dataset, inverted=inverted)
    _require_content(values[~padded])
    grey = _of_interest(values, dataset, padded, notes)
    if inverted:
        grey = 1.0 - grey
    return Shown(np.where(padded, float32(0), grey * float32(WHITE)).astype(float32), tuple(notes))


def _modality(stored: NDArray[np.integer[Any]], dataset: Dataset, notes: list[str]) -> NDArray[float32]:
    """Apply the modality LUT: a table, or slope and intercept."""
    items = dataset.get("ModalityLUTSequence")
    if items:
        table = read_table(items[0], signed=_signed(dataset))
        if table is not None:
            return table.apply(stored)
        notes.append(TABLE_IGNORED)
    slope, intercept = decimal(dataset, "RescaleSlope"), decimal(dataset, "RescaleIntercept")
    with np.errstate(over="ignore", invalid="ignore"):  # absurd slopes are refused by value
        return stored.astype(float32) * float32(1.0 if slope is None else slope) + float32(intercept or 0.0)


def _padded(
    stored: NDArray[np.integer[Any]], values: NDArray[float32], dataset: Dataset, *, inverted: bool
) -> NDArray[bool_]:
    """Tell where the frame is no image: what is declared or shut out, else a border that is far from black as shown."""
    padding = read_padding(dataset)
    declared = np.zeros(values.shape, dtype=bool) if padding is None else padding.covers(stored)
    shut_out = behind_shutters(dataset, (values.shape[0], values.shape[1]))
    if shut_out is not None:
        declared |= shut_out
    if declared.any() or not _is_framed(values):
        return declared
    border = undeclared_background((-values if inverted else values)[None], None, modality="")
    return declared if border is None else border[0]


def _is_framed(values: NDArray[float32]) -> bool:
    """Say whether one value fills nearly the whole border.

    In a projection the body itself may be saturated along two of the four edges; that is no background.
    """
    edges = np.concatenate((values[0], values[-1], values[:, 0], values[:, -1]))
    _, counts = np.unique(edges, return_counts=True)
    return int(counts.max()) >= _FRAMED * edges.size


def _require_content(image: NDArray[float32]) -> None:
    lowest, highest = (float(image.min()), float(image.max())) if image.size else (0.0, 0.0)
    if not np.isfinite([lowest, highest]).all():
        raise UnsuitableVolume("the rescaled values are not finite; RescaleSlope or RescaleIntercept is wrong")
    if lowest == highest:
        raise UnsuitableVolume("every pixel has the same value; there is nothing to analyse")


def _of_interest(
    values: NDArray[float32], dataset: Dataset, padded: NDArray[bool_], notes: list[str]
) -> NDArray[float32]:
    """Return grey levels in 0..1 by VOI LUT, window or range."""
    items = dataset.get("VOILUTSequence")
    table = read_table(items[0], signed=bool(values.min() < 0)) if items else None
    if items and table is None:
        notes.append(TABLE_IGNORED)
    window = _window(dataset)
    if table is not None:
        grey = table.apply(values) / float32(table.highest)
    elif window is not None:
        grey = _FUNCTIONS.get(window.function, _linear)(values, window)
    else:
        return _whole_range(values, dataset, padded)
    inside = grey[~padded]
    if inside.min() == inside.max():
        notes.append(WINDOW_IGNORED)
        return _whole_range(values, dataset, padded)
    return grey


def _whole_range(values: NDArray[float32], dataset: Dataset, padded: NDArray[bool_]) -> NDArray[float32]:
    """Show everything: 8-bit images were made to be looked at as they are, in others the range is the device's own."""
    bits = int(dataset.get("BitsStored") or 0)
    image = values[~padded]
    if bits == _BYTE and not _signed(dataset) and image.min() >= 0 and image.max() <= WHITE:
        return _unit(values / float32(WHITE))
    lowest, highest = float(image.min()), float(image.max())
    return _unit((values - float32(lowest)) / float32(highest - lowest))


def _unit(grey: NDArray[Any]) -> NDArray[float32]:
    return np.asarray(np.clip(grey, 0, 1), dtype=float32)


def _window(dataset: Dataset) -> _Window | None:
    centres, widths = decimals(dataset, "WindowCenter"), decimals(dataset, "WindowWidth")
    function = str(dataset.get("VOILUTFunction", "") or "LINEAR").strip().upper()
    if not centres or not widths or widths[0] < _NARROWEST.get(function, 1.0) or widths[0] <= 0.0:
        return None
    return _Window(centres[0], widths[0], function)


_NARROWEST = {"LINEAR": 1.0, "LINEAR_EXACT": 0.0, "SIGMOID": 0.0}
"""Narrower windows are none (PS3.3 C.11.2.1.2)."""
_STEP = 1e-6
"""What a window of width 1 spans: a threshold."""


def _linear(values: NDArray[float32], window: _Window) -> NDArray[float32]:
    span = max(window.width - 1.0, _STEP)
    return _unit((values - float32(window.centre - 0.5)) / float32(span) + float32(0.5))


def _linear_exact(values: NDArray[float32], window: _Window) -> NDArray[float32]:
    return _unit((values - float32(window.centre)) / float32(window.width) + float32(0.5))


def _sigmoid(values: NDArray[float32], window: _Window) -> NDArray[float32]:
    exponent = np.clip(-4.0 * (values - float32(window.centre)) / float32(window.width), -80.0, 80.0)
    return _unit(1.0 / (1.0 + np.exp(exponent)))


_FUNCTIONS: Mapping[str, Callable[[NDArray[float32], _Window], NDArray[float32]]] = {
    "LINEAR": _linear,
    "LINEAR_EXACT": _linear_exact,
    "SIGMOID": _sigmoid,
}


def _signed(dataset: Dataset) -> bool:
    return int(dataset.get("PixelRepresentation") or 0) == 1
