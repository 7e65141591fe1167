"""The images of a study's two-dimensional series: each one is an input of its own, and every other has its reason."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from storage.objects import ObjectStore
from storage.sop_kinds import ImageKind, is_secondary_capture, kind_of
from workers.errors import WorkerError
from workers.imaging.images import FOR_PROCESSING, ReadImage, read_image
from workers.imaging.instances import InstanceHeader
from workers.imaging.parsing import DEFAULT_LIMITS, ReadLimits
from workers.imaging.series import LeftOut, LeftOutReason

MOST_IMAGES = 16
"""So many images of one study are read for one route, in order of series and instance number."""
MOST_PIXELS = 160_000_000
"""So many pixels they may have together: 640 MB in memory."""
_OWN_MANUFACTURER = "ONCUE"
_OTHER = "OT"
_SCREENS = frozenset({"SCREEN SAVE", "SCREENSAVE", "DOSE_INFO"})
_Aside = Counter[tuple[str, LeftOutReason, str]]


@dataclass(frozen=True, slots=True)
class ImageRules:
    """Which images a route takes. ``secondary_capture`` also lets in captured screens, of modality OT too."""

    modalities: frozenset[str]
    secondary_capture: bool = False
    most: int = MOST_IMAGES


@dataclass(frozen=True, slots=True, eq=False)
class ImageSelection:
    """The images that were read, in order, what was left out, and the first error of those that could not be read."""

    images: tuple[ReadImage, ...]
    left_out: tuple[LeftOut, ...]
    failure: WorkerError | None = None


def images_of(
    headers: Iterable[InstanceHeader],
    objects: ObjectStore,
    *,
    rules: ImageRules,
    limits: ReadLimits = DEFAULT_LIMITS,
) -> ImageSelection:
    """Read the images of one or several series, at most ``rules.most`` of them, each as a volume of one slice.

    Left out are what the route does not take, raw images beside processed ones of the same view, several frames,
    copies, and what is beyond the limits. An image that cannot be read costs the others nothing; only an error that
    trying again may mend stops the reading.
    """
    aside: _Aside = Counter()
    reading = _Reading(objects, limits, rules.most, aside)
    for header in _wanted(headers, rules, aside):
        reading.take(header)
    return ImageSelection(tuple(reading.images), _listed(aside), reading.failure)


class _Reading:
    """Reads one image after the other and counts what is set aside."""

    def __init__(self, objects: ObjectStore, limits: ReadLimits, most: int, aside: _Aside) -> None:
        self.images: list[ReadImage] = []
        self.failure: WorkerError | None = None
        self._objects, self._limits, self._most, self._aside = objects, limits, most, aside
        self._seen: set[str] = set()
        self._pixels = 0

    def take(self, header: InstanceHeader) -> None:
        """Read an image, unless there is no room for it."""
        size = header.rows * header.columns
        if len(self.images) >= self._most or (self.images and self._pixels + size > MOST_PIXELS):
            self._set_aside(header, LeftOutReason.BEYOND_LIMIT)
            return
        try:
            image = read_image(header, self._objects, limits=self._limits)
        except WorkerError as error:
            if error.retryable:
                raise
            self.failure = self.failure or error
            self._set_aside(header, LeftOutReason.NO_IMAGE, error.code)
            return
        self._keep(image, header)

    def _keep(self, image: ReadImage, header: InstanceHeader) -> None:
        digest = _digest(image, header)
        if digest in self._seen:
            self._set_aside(header, LeftOutReason.IDENTICAL_COPY)
            return
        self._seen.add(digest)
        self._pixels += image.volume.voxels.size
        self.images.append(image)

    def _set_aside(self, header: InstanceHeader, reason: LeftOutReason, code: str = "") -> None:
        self._aside[header.stored.series_instance_uid, reason, code] += 1


def _wanted(headers: Iterable[InstanceHeader], rules: ImageRules, aside: _Aside) -> list[InstanceHeader]:
    """Return the images that the route takes, in order; count the others."""
    kept = []
    for header in headers:
        reason = _exclusion(header, rules)
        if reason is None:
            kept.append(header)
        else:
            aside[header.stored.series_instance_uid, reason, ""] += 1
    processed = {_shows(header) for header in kept if header.intent != FOR_PROCESSING}
    wanted = []
    for header in sorted(kept, key=_order):
        if header.intent == FOR_PROCESSING and _shows(header) in processed:
            aside[header.stored.series_instance_uid, LeftOutReason.FOR_PROCESSING, ""] += 1
        else:
            wanted.append(header)
    return wanted


def _exclusion(header: InstanceHeader, rules: ImageRules) -> LeftOutReason | None:
    """Return why an instance is no image for these rules, or None."""
    stored = header.stored
    capture = is_secondary_capture(stored.sop_class_uid)
    modalities = rules.modalities | {_OTHER} if capture else rules.modalities
    checks = (
        (header.manufacturer == _OWN_MANUFACTURER, LeftOutReason.OWN_RESULT),
        (kind_of(stored.sop_class_uid) is ImageKind.NOT_AN_IMAGE, LeftOutReason.NOT_AN_IMAGE),
        (kind_of(stored.sop_class_uid) is not ImageKind.IMAGE, LeftOutReason.UNSUPPORTED_CLASS),
        (not header.rows or not header.columns, LeftOutReason.NOT_AN_IMAGE),
        (capture and not rules.secondary_capture, LeftOutReason.SECONDARY_CAPTURE),
        (stored.modality.upper() not in modalities, LeftOutReason.UNSUPPORTED_MODALITY),
        (bool(_SCREENS & frozenset(header.image_type)) and not capture, LeftOutReason.SCREEN_SAVE),
    )
    return next((reason for holds, reason in checks if holds), None)


def _order(header: InstanceHeader) -> tuple[str, int, str]:
    return (header.stored.series_instance_uid, header.instance_number or 0, header.stored.sop_instance_uid)


def _shows(header: InstanceHeader) -> tuple[str, str]:
    """Return what a raw image and the one made from it have in common."""
    return (header.stored.modality.upper(), header.view)


def _digest(image: ReadImage, header: InstanceHeader) -> str:
    """Digest what an image shows and how it is to be understood; an archive's second export has the same."""
    voxels = image.volume.voxels
    sha = hashlib.sha256(f"{voxels.shape}{header.view}{image.volume.geometry.spacing_mm}".encode())
    sha.update(voxels.data)
    return sha.hexdigest()


def _listed(counted: _Aside) -> tuple[LeftOut, ...]:
    return tuple(
        LeftOut(series, reason, count, code=code)
        for (series, reason, code), count in sorted(counted.items(), key=lambda item: item[0])
    )
