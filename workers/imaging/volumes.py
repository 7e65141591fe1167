"""A chosen series becomes a volume: ordered, decoded and rescaled on its own grid ``[z, y, x]``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy import float32
from numpy.typing import NDArray

from storage.objects import ObjectStore
from storage.volumes import FrameRef, Volume
from workers.errors import MixedGeometry, UnreadableInstance, UnsuitableVolume
from workers.imaging.borders import extremes, undeclared_background
from workers.imaging.grids import regular_grid
from workers.imaging.parsing import DEFAULT_LIMITS, ReadLimits
from workers.imaging.pixels import decode_instances
from workers.imaging.series import SeriesRef
from workers.imaging.slices import Slice


def build_volume(series: SeriesRef, objects: ObjectStore, *, limits: ReadLimits = DEFAULT_LIMITS) -> Volume:
    """Build the volume of one series, in units after rescale (HU for CT), slices ordered by position.

    ``z`` grows along row direction x column direction, whatever order the slices came in. Padding, declared or seen,
    becomes as dark as the darkest pixel of the image. MR in MONOCHROME1 is
    inverted within its own range so that bright means the same everywhere; CT is not, because HU already do.

    MixedGeometry, InvalidGeometry, DuplicatePosition, IncompleteVolume from the geometry; UnsuitableVolume for
    colour, too many voxels, a constant or not finite volume; UnreadableInstance and OversizedInstance from the pixels.
    """
    slices = _slices(series)
    _require_one_shape(slices)
    _require_modest(slices, limits)
    grid = regular_grid([part.plane for part in slices])
    ordered = [slices[index] for index in grid.order]
    voxels, padded = _voxels(ordered, objects, limits)
    inverted = series.modality == "MR" and slices[0].header.photometric_interpretation == "MONOCHROME1"
    _require_content(voxels)
    background = _background(voxels, padded, modality=series.modality)
    voxels = _without_background(voxels, background, inverted=inverted)
    return Volume(
        voxels=voxels,
        geometry=grid.geometry,
        modality=series.modality,
        study_instance_uid=series.study_instance_uid,
        series_instance_uid=series.series_instance_uid,
        frame_of_reference_uid=slices[0].header.frame_of_reference_uid,
        frames=tuple(_frame_ref(part) for part in ordered),
        description=series.description,
        body_part=series.body_part,
    )


def _slices(series: SeriesRef) -> list[Slice]:
    slices = [Slice(header, plane) for header in series.headers for plane in header.planes]
    if not all(header.planes for header in series.headers):
        raise MixedGeometry("some slices do not say where in the patient they lie; send the series again complete")
    if not slices:
        raise UnsuitableVolume("the series holds no image")
    return slices


def _require_one_shape(slices: Sequence[Slice]) -> None:
    if any(part.header.samples_per_pixel != 1 for part in slices):
        raise UnsuitableVolume("the series is in colour; only MONOCHROME1 and MONOCHROME2 can be analysed")
    shapes = {(part.header.rows, part.header.columns) for part in slices}
    if len(shapes) > 1:
        raise MixedGeometry(
            f"the slices of the series have {len(shapes)} different sizes; send them as separate series"
        )
    if len({part.header.frame_of_reference_uid for part in slices}) > 1:
        raise MixedGeometry("the slices of the series have different frames of reference")
    if len({part.header.photometric_interpretation for part in slices}) > 1:
        raise MixedGeometry("the slices of the series have different photometric interpretations")


def _require_modest(slices: Sequence[Slice], limits: ReadLimits) -> None:
    header = slices[0].header
    voxels = header.rows * header.columns * len(slices)
    if voxels > limits.voxels:
        raise UnsuitableVolume(
            f"{len(slices)} slices of {header.rows}x{header.columns} are {voxels} voxels; the limit is {limits.voxels}"
        )


def _frame_ref(part: Slice) -> FrameRef:
    stored = part.header.stored
    return FrameRef(stored.sop_instance_uid, stored.sop_class_uid, part.plane.frame_number, stored.digest)


def _voxels(
    ordered: Sequence[Slice], objects: ObjectStore, limits: ReadLimits
) -> tuple[NDArray[float32], NDArray[np.bool_] | None]:
    """Decode each instance once and put each of its frames where it belongs; tell where padding is declared."""
    header = ordered[0].header
    voxels = np.empty((len(ordered), header.rows, header.columns), dtype=float32)
    declared = any(part.header.padding for part in ordered)
    padded = np.zeros(voxels.shape, dtype=bool) if declared else None
    places = {(part.header.stored.digest, part.plane.frame_number or 1): z for z, part in enumerate(ordered)}
    digests = dict.fromkeys(part.header.stored.digest for part in ordered)
    for digest, number, frame in decode_instances(objects, digests, limits=limits):
        z = places.pop((digest, number), None)
        if z is None:
            continue  # a frame of another part of the series
        if frame.shape != voxels.shape[1:]:
            raise UnreadableInstance(f"object {digest[:12]}: the pixels are not what the header promises")
        voxels[z] = _units(frame, ordered[z])
        padding = ordered[z].header.padding
        if padded is not None and padding is not None:
            padded[z] = padding.covers(frame)
    if places:
        raise UnreadableInstance(f"{len(places)} slices of the series have no pixels of their own; send it again")
    return voxels, padded


def _without_background(
    voxels: NDArray[float32], background: NDArray[np.bool_] | None, *, inverted: bool
) -> NDArray[float32]:
    """Darken what is no image, invert the rest where asked to, and refuse what then has nothing to show.

    In place: a volume may take gigabytes.
    """
    lowest, highest = extremes(voxels, background)
    _require_spread(float(lowest), float(highest))
    if inverted:
        np.subtract(highest + lowest, voxels, out=voxels)
    if background is not None:
        voxels[background] = lowest
    return voxels


def _background(
    voxels: NDArray[float32], padded: NDArray[np.bool_] | None, *, modality: str
) -> NDArray[np.bool_] | None:
    """Return what is padding by the header's word and by what it looks like, or None where all is image."""
    declared = padded if padded is not None and padded.any() else None
    seen = undeclared_background(voxels, declared, modality=modality)
    return seen if declared is None else declared if seen is None else declared | seen


def _units(frame: NDArray[np.integer[Any]], part: Slice) -> NDArray[float32]:
    """Apply the modality LUT (PS3.3 C.11.1): stored value x slope + intercept."""
    with np.errstate(over="ignore", invalid="ignore"):  # absurd slopes are refused by value, once for the volume
        return frame.astype(float32) * float32(part.plane.slope) + float32(part.plane.intercept)


def _require_content(voxels: NDArray[float32]) -> None:
    lowest, highest = extremes(voxels, None)
    _require_spread(float(lowest), float(highest))


def _require_spread(lowest: float, highest: float) -> None:
    if not np.isfinite([lowest, highest]).all():
        raise UnsuitableVolume("the rescaled values are not finite; RescaleSlope or RescaleIntercept is wrong")
    if lowest == highest:
        raise UnsuitableVolume("every voxel has the same value; there is nothing to analyse")
