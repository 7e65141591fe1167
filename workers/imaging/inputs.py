"""What a route analyses of a study: the best volume of its series, or the images that they hold."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from storage.objects import ObjectStore
from storage.sop_kinds import ImageKind, kind_of
from storage.volumes import Volume
from workers.errors import NoUsableSeries
from workers.imaging.best_volume import build_best
from workers.imaging.image_series import ImageRules, ImageSelection, images_of
from workers.imaging.instances import HeaderScan
from workers.imaging.series import (
    LeftOut,
    LeftOutReason,
    SelectionRules,
    SeriesRef,
    choose_series,
    describe,
    select_series,
)

_BYTES = 4
"""Of one voxel of a volume."""


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """What is to be analysed, and what is on record of its choice.

    ``kind`` is VOLUME with one volume and the series that it came from, or IMAGE with one volume of one slice for each
    image, in order, and no series. ``notes`` are coded and name instances by their UIDs.
    """

    kind: ImageKind
    volumes: tuple[Volume, ...]
    series: SeriesRef | None
    left_out: tuple[LeftOut, ...]
    notes: tuple[str, ...] = ()


def read_inputs(
    scan: HeaderScan, objects: ObjectStore, *, rules: SelectionRules, secondary_capture: bool = False
) -> Inputs:
    """Read what a route wants of the series in a header scan: a volume where one can be, else every image.

    TwoPatients where images of several patients share the study. Where a series could become a volume and none can be
    built, the error of the best one is raised and no image takes its place. Where no image can be read, the error of
    the first one (``cine_not_supported`` ...); NoUsableSeries with every reason where there was none to try.
    """
    try:
        _, selection = choose_series(scan, rules=rules)
    except NoUsableSeries:
        return _images(scan, objects, rules, secondary_capture=secondary_capture)
    volume, series, left_out = build_best(selection, objects)
    return Inputs(ImageKind.VOLUME, (volume,), series, left_out)


def largest_bytes(scan: HeaderScan) -> int:
    """Return how many bytes what is read of a study may take at most, as float32: a series, or all of its images."""
    series: Counter[str] = Counter()
    images = 0
    for header in scan.headers:
        size = header.rows * header.columns * header.frames * _BYTES
        if kind_of(header.stored.sop_class_uid) is ImageKind.IMAGE:
            images += size
        else:
            series[header.stored.series_instance_uid] += size
    return max(images, *series.values(), 0)


def _images(scan: HeaderScan, objects: ObjectStore, rules: SelectionRules, *, secondary_capture: bool) -> Inputs:
    headers = [header for header in scan.headers if kind_of(header.stored.sop_class_uid) is ImageKind.IMAGE]
    found = images_of(headers, objects, rules=ImageRules(rules.modalities, secondary_capture))
    left_out = (*found.left_out, *_others(scan, rules, {header.stored.series_instance_uid for header in headers}))
    if not found.images:
        reasons = describe(left_out) or "the study is empty"
        raise found.failure or NoUsableSeries(f"no series can be analysed: {reasons}")
    volumes = tuple(image.volume for image in found.images)
    return Inputs(ImageKind.IMAGE, volumes, None, left_out, _notes(found))


def _others(scan: HeaderScan, rules: SelectionRules, series_of_images: set[str]) -> tuple[LeftOut, ...]:
    """Return why the other series are no volume either, and what could not be read at all."""
    return tuple(
        item
        for item in select_series(scan, rules=rules).left_out
        if item.series_instance_uid not in series_of_images or item.reason is LeftOutReason.UNREADABLE
    )


def _notes(found: ImageSelection) -> tuple[str, ...]:
    return tuple(
        f"{note}: image {image.volume.frames[0].sop_instance_uid}" for image in found.images for note in image.notes
    )
