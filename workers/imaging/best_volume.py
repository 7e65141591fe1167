"""The volume that is analysed: of the series that a study offers, the best that can be built."""

from __future__ import annotations

from collections.abc import Sequence

from storage.objects import ObjectStore
from storage.volumes import Volume
from workers.errors import WorkerError
from workers.imaging.continuations import continuations
from workers.imaging.copies import without_copies
from workers.imaging.series import LeftOut, LeftOutReason, SeriesRef, SeriesSelection
from workers.imaging.uptake import in_uptake_values
from workers.imaging.volumes import build_volume


def build_best(selection: SeriesSelection, objects: ObjectStore) -> tuple[Volume, SeriesRef, tuple[LeftOut, ...]]:
    """Build the best series that can be built; return its volume, the series, and everything that was left out.

    PET is in SUVbw; a series whose uptake values cannot be had counts as one that cannot be built.

    A series that lacks a slice, or is broken in another way that trying again cannot mend, gives way to the next best.
    Where none can be built, the error of the best one is raised. ``selection`` holds at least one usable series.
    """
    failures: list[WorkerError] = []
    aside: list[LeftOut] = []
    for series in selection.ranked:
        try:
            whole, copies = without_copies(series, objects)
            volume = in_uptake_values(build_volume(whole, objects), objects)
        except WorkerError as error:
            if error.retryable:
                raise
            failures.append(error)
            aside.append(_not_built(series, error))
        else:
            return volume, whole, _left_out(selection, series, aside, copies)
    raise failures[0]


def _not_built(series: SeriesRef, error: WorkerError) -> LeftOut:
    return LeftOut(
        series.series_instance_uid, LeftOutReason.NO_VOLUME, len(series.headers), series.part, code=error.code
    )


def _left_out(
    selection: SeriesSelection, taken: SeriesRef, aside: Sequence[LeftOut], copies: Sequence[LeftOut]
) -> tuple[LeftOut, ...]:
    """Correct the selection's list, which takes the first for granted: it may have failed, and another was taken."""
    others = [series for series in selection.ranked if series.series_instance_uid != taken.series_instance_uid]
    pieces = [
        LeftOut(piece.series_instance_uid, LeftOutReason.CONTINUES, len(piece.headers), piece.part)
        for piece in continuations(taken, others)
    ]
    not_built = [item for item in aside if not any(_is_same(item, piece) for piece in pieces)]
    named = {(item.series_instance_uid, item.part) for item in (*aside, *pieces)}
    named.add((taken.series_instance_uid, taken.part))
    kept = [
        item
        for item in selection.left_out
        if item.reason is not LeftOutReason.LOWER_RANK or (item.series_instance_uid, item.part) not in named
    ]
    return (*kept, *not_built, *pieces, *copies)


def _is_same(one: LeftOut, other: LeftOut) -> bool:
    return (one.series_instance_uid, one.part) == (other.series_instance_uid, other.part)
