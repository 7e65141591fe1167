"""How the grey values of source frames become what is displayed: modality and window, as their headers state them.

A presentation state replaces what the image says of this (PS3.3 C.11.1, C.11.8, C.11.6), so that it has to repeat it:
without a window an image of twelve bits would be shown as nearly black.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.dataset import Dataset

from dicom_gateway.objects.planes import stated_decimals

_FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")


@dataclass(frozen=True, slots=True)
class Rescale:
    """A modality transformation that is a line (PS3.3 C.11.1.1.2)."""

    slope: float
    intercept: float
    kind: str


@dataclass(frozen=True, slots=True)
class Window:
    """A window in the units behind the modality transformation (PS3.3 C.11.2.1.2)."""

    center: float
    width: float
    function: str | None = None


def rescale_of(source: Dataset, frame_number: int | None) -> Rescale | None:
    """Return the rescale of a frame, or None where its header states none or one that is no line."""
    holder = _macro(source, frame_number, "PixelValueTransformationSequence")
    slope, intercept = _first(holder, "RescaleSlope"), _first(holder, "RescaleIntercept")
    if not slope or intercept is None:
        return None
    return Rescale(slope, intercept, str(holder.get("RescaleType") or "US").strip())


def window_of(source: Dataset, frame_number: int | None, rescale: Rescale | None) -> Window | None:
    """Return the first window that a frame states, else the range of its pixels where it states that, else None."""
    holder = _macro(source, frame_number, "FrameVOILUTSequence")
    center, width = _first(holder, "WindowCenter"), _first(holder, "WindowWidth")
    function = str(holder.get("VOILUTFunction") or "").strip() or None
    narrowest = 1.0 if function in (None, "LINEAR") else 1e-9
    if center is not None and width is not None and width >= narrowest and function in (None, *_FUNCTIONS):
        return Window(center, width, function)
    return _full_range(source, rescale)


def voi_table_of(source: Dataset) -> Dataset | None:
    """Return the first VOI table of an image that states tables and no window, else None."""
    tables = source.get("VOILUTSequence")
    return None if not tables or _first(source, "WindowCenter") is not None else tables[0]


def _full_range(source: Dataset, rescale: Rescale | None) -> Window | None:
    """Return the window from the smallest to the largest pixel value, where a header states both."""
    low, high = (source.get(f"{which}ImagePixelValue") for which in ("Smallest", "Largest"))
    if not isinstance(low, int) or not isinstance(high, int) or high <= low:
        return None
    slope, intercept = (rescale.slope, rescale.intercept) if rescale else (1.0, 0.0)
    ends = sorted((low * slope + intercept, high * slope + intercept))
    return Window((ends[0] + ends[1]) / 2.0, max(ends[1] - ends[0], 1.0))


def _macro(source: Dataset, frame_number: int | None, name: str) -> Dataset:
    """Return the functional group of a frame, its own before the shared one; the image itself where it has none."""
    own = source.get("PerFrameFunctionalGroupsSequence") or ()
    shared = source.get("SharedFunctionalGroupsSequence") or ()
    groups = [*own[frame_number - 1 : frame_number], *shared[:1]] if frame_number is not None else []
    macros: list[Dataset] = [macro for group in groups for macro in group.get(name, ())]
    return macros[0] if macros else source


def _first(holder: Dataset, keyword: str) -> float | None:
    numbers = stated_decimals(holder, keyword)
    return numbers[0] if numbers else None
