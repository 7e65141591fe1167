"""One image twice in a series: the copy that an archive exported again is set aside, a different twin is refused."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from storage.objects import ObjectStore
from workers.errors import DuplicatePosition
from workers.imaging.instances import InstanceHeader
from workers.imaging.parsing import DEFAULT_LIMITS, ReadLimits
from workers.imaging.pixels import decode_frames
from workers.imaging.series import LeftOut, LeftOutReason, SeriesRef
from workers.imaging.slices import Slice, number_places

_SHORT_UID = 12


def without_copies(
    series: SeriesRef, objects: ObjectStore, *, limits: ReadLimits = DEFAULT_LIMITS
) -> tuple[SeriesRef, tuple[LeftOut, ...]]:
    """Return a series with each place once, and what was set aside: of equal images the one with the lowest UID stays.

    Only images at a place that is taken twice are decoded. DuplicatePosition names two that lie at the same place and
    are not the same image.
    """
    dropped: set[str] = set()
    for twins in _at_one_place(series):
        first, *others = sorted(twins, key=lambda header: header.stored.sop_instance_uid)
        wanted = _pixels(first, objects, limits)
        for other in others:
            if _pixels(other, objects, limits) != wanted:
                raise DuplicatePosition(
                    f"images {_short(first)} and {_short(other)} lie at the same place and differ;"
                    " send the series again without one of them"
                )
            dropped.add(other.stored.sop_instance_uid)
    if not dropped:
        return series, ()
    kept = tuple(header for header in series.headers if header.stored.sop_instance_uid not in dropped)
    aside = LeftOut(series.series_instance_uid, LeftOutReason.IDENTICAL_COPY, len(dropped), series.part)
    return replace(series, headers=kept), (aside,)


def _at_one_place(series: SeriesRef) -> Sequence[list[InstanceHeader]]:
    """Return the single-frame images that share a place; frames of one instance are no copies of each other."""
    places: dict[int, list[InstanceHeader]] = defaultdict(list)
    single = [Slice(header, header.planes[0]) for header in series.headers if header.frames == 1]
    for item, place in zip(single, number_places(single), strict=True):
        places[place].append(item.header)
    return [headers for headers in places.values() if len(headers) > 1]


def _pixels(header: InstanceHeader, objects: ObjectStore, limits: ReadLimits) -> str:
    """Digest what the image shows: its stored values and how they become units."""
    sha = hashlib.sha256()
    for frame in decode_frames(objects, header.stored.digest, limits=limits):
        sha.update(f"{frame.shape}{frame.dtype}{header.planes[0].slope}{header.planes[0].intercept}".encode())
        sha.update(frame.tobytes())
    return sha.hexdigest()


def _short(header: InstanceHeader) -> str:
    return f"..{header.stored.sop_instance_uid[-_SHORT_UID:]}"
