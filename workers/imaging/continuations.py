"""One stack that was sent as several series: they are not joined, but it is said that the volume goes on elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

from workers.errors import WorkerError
from workers.imaging.grids import regular_grid
from workers.imaging.planes import Plane
from workers.imaging.series import SeriesRef


def continuations(taken: SeriesRef, others: Sequence[SeriesRef]) -> tuple[SeriesRef, ...]:
    """Return those of the other series that make one regular stack with the taken one, piece by piece.

    Geometry and settings of the scan must say so: frame of reference, size, spacing, orientation, distance of the
    slices, echo, inversion, b-value and component.
    """
    found: list[SeriesRef] = []
    waiting = [other for other in others if _settings(other) == _settings(taken)]
    while True:
        piece = next((other for other in waiting if _is_one_stack(taken, *found, other)), None)
        if piece is None:
            return tuple(found)
        found.append(piece)
        waiting.remove(piece)


def _settings(series: SeriesRef) -> tuple[object, ...]:
    header = series.headers[0]
    acquired = header.planes[0].acquisition
    return (
        series.modality,
        header.frame_of_reference_uid,
        header.rows,
        header.columns,
        acquired.echo,
        acquired.inversion_ms,
        acquired.b_value,
        acquired.component,
        acquired.temporal_position,
    )


def _is_one_stack(*pieces: SeriesRef) -> bool:
    try:
        regular_grid(list(chain.from_iterable(map(_planes, pieces))))
    except WorkerError:
        return False
    return True


def _planes(series: SeriesRef) -> list[Plane]:
    return [plane for header in series.headers for plane in header.planes]
