"""Where each frame lies in the patient and how its stored values become units, for classic and enhanced images."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from pydicom.dataset import Dataset
from pydicom.tag import Tag

from storage.volumes import Vector
from workers.imaging.acquisitions import Acquisition, read_classic, read_enhanced
from workers.imaging.decimals import decimal, decimals

PLANE_KEYWORDS = (
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SliceThickness",
    "RescaleSlope",
    "RescaleIntercept",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
)
_VECTOR = 3
_ORIENTATION = 6


@dataclass(frozen=True, slots=True)
class Plane:
    """One frame: centre of its first pixel, unit directions, ``(row, column)`` spacing, and the modality LUT.

    ``frame_number`` counts from 1 in a multi-frame instance and is None in a single-frame one.
    """

    frame_number: int | None
    position_mm: Vector
    row_direction: Vector
    column_direction: Vector
    pixel_spacing_mm: tuple[float, float]
    slope: float = 1.0
    intercept: float = 0.0
    thickness_mm: float | None = None
    acquisition: Acquisition = field(default_factory=Acquisition)


@dataclass(frozen=True, slots=True)
class _Groups:
    """The functional groups of one frame: its own item first, then the shared one (PS3.3 C.7.6.16)."""

    own: Dataset
    shared: Dataset

    def macro(self, keyword: str) -> Dataset:
        for groups in (self.own, self.shared):
            items = groups.get(keyword)
            if items:
                return _item(items[0])
        return Dataset()


def read_planes(dataset: Dataset) -> tuple[Plane, ...]:
    """Return one plane for each frame, or none where any frame lacks a position, an orientation or a spacing.

    Values that are not numbers raise what pydicom raises: call it inside ``parsing``.
    """
    frames = dataset.get("PerFrameFunctionalGroupsSequence")
    single = int(dataset.get("NumberOfFrames") or 1) == 1
    # An image with a position of its own needs no functional groups; some hold empty ones all the same.
    if not frames or (single and "ImagePositionPatient" in dataset):
        plane = _plane(None, dataset, dataset, dataset, dataset)
        return (replace(plane, acquisition=read_classic(dataset)),) if plane and single else ()
    shared = dataset.get("SharedFunctionalGroupsSequence")
    common = _item(shared[0]) if shared else Dataset()
    planes = [_enhanced_plane(number, _Groups(_item(own), common)) for number, own in enumerate(frames, start=1)]
    known = tuple(plane for plane in planes if plane is not None)
    return known if len(known) == len(planes) else ()


def _item(value: object) -> Dataset:
    if not isinstance(value, Dataset):
        raise TypeError("not a sequence item")
    return value


def _enhanced_plane(number: int, groups: _Groups) -> Plane | None:
    plane = _plane(
        number,
        groups.macro("PlanePositionSequence"),
        groups.macro("PlaneOrientationSequence"),
        groups.macro("PixelMeasuresSequence"),
        groups.macro("PixelValueTransformationSequence"),
    )
    if plane is None:
        return None
    return replace(plane, acquisition=read_enhanced(groups.macro))


def _plane(
    number: int | None, position: Dataset, orientation: Dataset, measures: Dataset, transformation: Dataset
) -> Plane | None:
    where = _exactly(position, "ImagePositionPatient", _VECTOR)
    cosines = _exactly(orientation, "ImageOrientationPatient", _ORIENTATION)
    spacing = _exactly(measures, "PixelSpacing", 2)
    if where is None or cosines is None or spacing is None or min(spacing) <= 0:
        return None
    return Plane(
        frame_number=number,
        position_mm=(where[0], where[1], where[2]),
        row_direction=(cosines[0], cosines[1], cosines[2]),
        column_direction=(cosines[3], cosines[4], cosines[5]),
        pixel_spacing_mm=(spacing[0], spacing[1]),
        slope=_or_usual(transformation, "RescaleSlope", 1.0),
        intercept=_or_usual(transformation, "RescaleIntercept", 0.0),
        thickness_mm=decimal(measures, "SliceThickness"),
    )


def _exactly(dataset: Dataset, keyword: str, count: int) -> tuple[float, ...] | None:
    values = decimals(dataset, keyword)
    return values if len(values) == count else None


def _or_usual(dataset: Dataset, keyword: str, usual: float) -> float:
    """Return a value of the modality LUT; one that is there but no number leaves the image without known units."""
    value = decimal(dataset, keyword)
    if value is not None:
        return value
    raw = dataset.get_item(Tag(keyword))
    written = raw.value if raw is not None else None
    if written and (not isinstance(written, (bytes, str)) or written.strip()):
        raise ValueError(f"{keyword} is not one number")
    return usual
