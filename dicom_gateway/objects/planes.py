"""The planes that a label map lies on, as headers that the segmentation builder takes: one for each source plane.

Single-frame and enhanced multi-frame sources come out alike: plane ``z`` of the label map is plane ``z`` here.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from dicom_gateway.errors import SourceUnusable
from dicom_gateway.objects.sources import SourceSeries, reference_header
from storage.decimals import as_decimals
from storage.uids import deterministic_uid
from storage.volumes import FrameRef

# Direction cosines and spacings of one series agree to this, or its slices are no stack of one grid.
_SAME_ORIENTATION = 1e-3
_SAME_SPACING_MM = 1e-3
_SAME_PLANE_MM = 1e-3
# Positions are evened where they are off by less than the one, and more than the other, which no reader minds.
_ROUNDING_MM = 0.05
_WRITTEN_MM = 1e-4


@dataclass(frozen=True, slots=True, eq=False)
class Plane:
    """One source plane: where it lies (mm, patient coordinates) and its pixel grid."""

    rows: int
    columns: int
    position: tuple[float, ...]
    orientation: tuple[float, ...]
    pixel_spacing: tuple[float, ...]
    thickness: float | None


def planes_of(series: SourceSeries, frames: Sequence[FrameRef]) -> tuple[Plane, ...]:
    """Read the plane of each frame; SourceUnusable where one is missing or they are not one stack."""
    return _planes_of(series, tuple(frames))


@lru_cache(maxsize=1)  # every form of one result asks for the same planes
def _planes_of(series: SourceSeries, frames: tuple[FrameRef, ...]) -> tuple[Plane, ...]:
    by_uid = series.by_uid()
    planes = []
    for number, frame in enumerate(frames, start=1):
        if frame.sop_instance_uid not in by_uid:
            raise SourceUnusable(f"frame {number} names an instance that is not among the sources")
        try:
            planes.append(_plane(by_uid[frame.sop_instance_uid], frame.frame_number))
        except (AttributeError, IndexError, TypeError, ValueError) as error:
            raise SourceUnusable(f"frame {number} does not say where it lies in the patient") from error
    _require_one_stack(planes)
    return _evened(planes)


def plane_headers(series: SourceSeries, frames: Sequence[FrameRef]) -> list[Dataset]:
    """Return builder headers for the frames: one each, or a single merged one where the sources are multi-frame."""
    planes = planes_of(series, frames)
    thickness = _thickness(planes)
    if all(frame.frame_number is None for frame in frames):
        by_uid = series.by_uid()
        return [
            _single_frame_header(by_uid[frame.sop_instance_uid], plane, planes[0], thickness)
            for frame, plane in zip(frames, planes, strict=True)
        ]
    return [_merged_header(series.first, planes, thickness)]


def _plane(dataset: Dataset, frame_number: int | None) -> Plane:
    if frame_number is None:
        position, orientation, measures = dataset, dataset, dataset
    else:
        groups = _functional_groups(dataset, frame_number)
        position = groups["PlanePositionSequence"]
        orientation = groups["PlaneOrientationSequence"]
        measures = groups["PixelMeasuresSequence"]
    thickness = stated_decimals(measures, "SliceThickness")
    return Plane(
        rows=int(dataset.Rows),
        columns=int(dataset.Columns),
        position=_numbers(position, "ImagePositionPatient", 3),
        orientation=_numbers(orientation, "ImageOrientationPatient", 6),
        pixel_spacing=_numbers(measures, "PixelSpacing", 2),
        thickness=thickness[0] if thickness else None,
    )


def _functional_groups(dataset: Dataset, frame_number: int) -> dict[str, Dataset]:
    """Return the plane's macros, the frame's own before the shared ones (PS3.3 C.7.6.16)."""
    own = dataset.PerFrameFunctionalGroupsSequence[frame_number - 1]
    shared = dataset.SharedFunctionalGroupsSequence[0]
    names = ("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence")
    return {name: (own if name in own else shared)[name].value[0] for name in names}


def _numbers(dataset: Dataset, keyword: str, count: int) -> tuple[float, ...]:
    numbers = stated_decimals(dataset, keyword)
    if len(numbers) != count:
        raise ValueError("not that many finite numbers")
    return numbers


def stated_decimals(dataset: Dataset, keyword: str) -> tuple[float, ...]:
    """Read decimal strings as leniently as the analysis did, which would be lost for a comma or for VR UT.

    Empty where there are none, or one is no finite number.
    """
    element = dataset.get_item(Tag(keyword))
    value = None if element is None else element.value
    if isinstance(value, bytes):
        value = value.decode("ascii", errors="replace").strip(" \0")
    if value is None or value == "":
        return ()
    return as_decimals(value.split("\\") if isinstance(value, str) else map(str, np.atleast_1d(value)))


def _require_one_stack(planes: Sequence[Plane]) -> None:
    first = planes[0]
    for plane in planes:
        if (plane.rows, plane.columns) != (first.rows, first.columns):
            raise SourceUnusable("the source planes differ in size")
        if not np.allclose(plane.orientation, first.orientation, atol=_SAME_ORIENTATION):
            raise SourceUnusable("the source planes differ in orientation")
        if not np.allclose(plane.pixel_spacing, first.pixel_spacing, atol=_SAME_SPACING_MM):
            raise SourceUnusable("the source planes differ in pixel spacing")
    normal = np.cross(first.orientation[:3], first.orientation[3:])
    heights = np.sort([float(np.dot(plane.position, normal)) for plane in planes])
    if (np.diff(heights) < _SAME_PLANE_MM).any():
        raise SourceUnusable("two source planes lie in the same place, as in a time series")


def _evened(planes: Sequence[Plane]) -> tuple[Plane, ...]:
    """Return planes at equal distances where the sources' positions are merely rounded.

    The mask was drawn on an even grid, and readers call a segmentation a volume only where its planes lie on one.
    Each plane still names its source; it moves by less than a twentieth of a millimetre.
    """
    positions = np.array([plane.position for plane in planes])
    normal = np.cross(planes[0].orientation[:3], planes[0].orientation[3:])
    rank = np.argsort(np.argsort(positions @ normal)).astype(float)
    line = np.polynomial.polynomial.polyfit(rank, positions, deg=min(1, len(planes) - 1))
    even = np.polynomial.polynomial.polyval(rank, line).T.reshape(positions.shape)
    off = float(np.abs(even - positions).max())
    if not _WRITTEN_MM < off < _ROUNDING_MM:
        return tuple(planes)
    return tuple(
        replace(plane, position=tuple(map(float, where)))
        for plane, where in zip(planes, np.round(even, 6), strict=True)
    )


def _thickness(planes: Sequence[Plane]) -> float:
    """Return the slice thickness in mm, or the distance of neighbouring planes where none is stated."""
    if planes[0].thickness:
        return planes[0].thickness
    if len(planes) > 1:
        return float(np.linalg.norm(np.subtract(planes[1].position, planes[0].position)))
    raise SourceUnusable("a single plane without SliceThickness has no volume")


def _single_frame_header(dataset: Dataset, plane: Plane, first: Plane, thickness: float) -> Dataset:
    header = _grid_header(dataset, first)
    header.ImagePositionPatient = _ds(plane.position)
    header.ImageOrientationPatient = _ds(first.orientation)
    header.PixelSpacing = _ds(first.pixel_spacing)
    header.SliceThickness = _ds((thickness,))[0]
    return header


def _merged_header(dataset: Dataset, planes: Sequence[Plane], thickness: float) -> Dataset:
    """Return one multi-frame header whose frames are the planes in order, with the macros that the builder reads."""
    header = _grid_header(dataset, planes[0])
    header.NumberOfFrames = len(planes)
    orientation, measures = Dataset(), Dataset()
    orientation.ImageOrientationPatient = _ds(planes[0].orientation)
    measures.PixelSpacing = _ds(planes[0].pixel_spacing)
    measures.SliceThickness = _ds((thickness,))[0]
    shared = Dataset()
    shared.PlaneOrientationSequence = [orientation]
    shared.PixelMeasuresSequence = [measures]
    header.SharedFunctionalGroupsSequence = [shared]
    header.PerFrameFunctionalGroupsSequence = [_position_group(plane) for plane in planes]
    return header


def _position_group(plane: Plane) -> Dataset:
    position, group = Dataset(), Dataset()
    position.ImagePositionPatient = _ds(plane.position)
    group.PlanePositionSequence = [position]
    return group


def _grid_header(dataset: Dataset, plane: Plane) -> Dataset:
    header = copy.copy(reference_header(dataset))
    header.Rows = plane.rows
    header.Columns = plane.columns
    # A series without a frame of reference is one by itself; a segmentation cannot do without.
    header.FrameOfReferenceUID = dataset.get("FrameOfReferenceUID") or deterministic_uid(
        "frame-of-reference", str(dataset.SeriesInstanceUID)
    )
    return header


def _ds(values: Sequence[float]) -> list[float]:
    """Round to what a decimal string of 16 characters holds, so that a value is written as it is compared."""
    return [float(f"{value:.10g}") for value in values]
