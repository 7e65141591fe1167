"""What a reader of the result should know about the choice of its images, each note with a code in front."""

from __future__ import annotations

from collections.abc import Sequence

from workers.imaging.series import LeftOut, SeriesRef


def selection_notes(taken: SeriesRef | None, left_out: Sequence[LeftOut]) -> tuple[str, ...]:
    """Return coded notes: which part was taken, whether it was computed from others, and what was left out and why.

    ``taken`` is None for images, which are no volume of one series.
    """
    notes = []
    if taken is not None and taken.part:
        notes.append(f"part_taken: {taken.part} of series {taken.series_instance_uid}")
    if taken is not None and any(header.computed for header in taken.headers):
        notes.append(f"derived_taken: series {taken.series_instance_uid} was computed from other images")
    return (*notes, *map(_left_out_note, left_out))


def _left_out_note(item: LeftOut) -> str:
    part = f", {item.part}" if item.part else ""
    return f"{item.code or item.reason.value}: series {item.series_instance_uid}{part}, {item.images}"
