"""One series, several volumes: planes apart by orientation, and planes at the same places apart by how they came about.

Echoes, b-values, contrast phases and time points often share a series; a scout or a few planes of another angle may
lie in it too. What belongs together is found from the planes themselves, never from the order of the files.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np

from workers.imaging.acquisitions import Acquisition
from workers.imaging.instances import InstanceHeader
from workers.imaging.planes import Plane

_ANGLE_DECIMALS = 2
_PLACE_DECIMALS = 1
_FEWEST_SHARE = 0.5
"""A part of a series holds at least this share of its places; what is smaller is no volume of its own."""
_MOST_KEYS = 2


@dataclass(frozen=True, slots=True)
class Slice:
    """One plane of one instance."""

    header: InstanceHeader
    plane: Plane

    @property
    def place(self) -> tuple[float, ...]:
        """Where the plane lies, coarse enough for rounded headers to agree."""
        return tuple(float(value) for value in np.round(self.plane.position_mm, _PLACE_DECIMALS) + 0.0)


@dataclass(frozen=True, slots=True)
class Stack:
    """Planes that may become one volume. ``part`` says which of its series it is, empty where it is the only one.

    ``order`` counts the parts of a series as they were acquired, from 0.
    """

    slices: tuple[Slice, ...]
    part: str = ""
    order: int = 0


Key = Callable[[Acquisition], Hashable]

_KEYS: tuple[tuple[str, Key], ...] = (
    ("stack", lambda acquired: acquired.stack or None),
    ("echo", lambda acquired: acquired.echo_ms if acquired.echo_ms is not None else acquired.echo_number),
    ("b-value", lambda acquired: acquired.b_value),
    ("inversion", lambda acquired: acquired.inversion_ms),
    ("time point", lambda acquired: acquired.temporal_position),
    ("component", lambda acquired: acquired.component or None),
    ("trigger", lambda acquired: acquired.trigger_ms),
    ("acquisition", lambda acquired: acquired.number),
)
"""What tells parts apart, the most telling first."""


def split_orientations(slices: Iterable[Slice]) -> list[list[Slice]]:
    """Group planes by orientation, pixel spacing and size of the image, the largest group first."""
    groups: dict[Hashable, list[Slice]] = {}
    for item in slices:
        plane = item.plane
        cosines = np.round((*plane.row_direction, *plane.column_direction), _ANGLE_DECIMALS) + 0.0
        spacing = tuple(round(step, 3) for step in plane.pixel_spacing_mm)
        groups.setdefault((*cosines.tolist(), spacing, item.header.rows, item.header.columns), []).append(item)
    return sorted(groups.values(), key=len, reverse=True)


def split_parts(slices: Sequence[Slice]) -> tuple[Stack, ...] | None:
    """Split planes of one orientation so that no part has two planes at one place; None where nothing tells them apart.

    One attribute is tried before two together, then the order in which the planes were acquired. A single plane too
    many does not make parts: who builds the volume decides about it.
    """
    places = len({item.place for item in slices})
    if 2 * places > len(slices):
        return (Stack(tuple(slices)),)
    for count in range(1, _MOST_KEYS + 1):
        for keys in combinations(_KEYS, count):
            parts = _split_by(slices, keys, places)
            if parts is not None:
                return parts
    return _split_by_time(slices, places)


def _split_by(slices: Sequence[Slice], keys: Sequence[tuple[str, Key]], places: int) -> tuple[Stack, ...] | None:
    groups: dict[tuple[Hashable, ...], list[Slice]] = {}
    for item in slices:
        groups.setdefault(tuple(key(item.plane.acquisition) for _, key in keys), []).append(item)
    if len(groups) < 2 or not all(_is_volume(group, places) for group in groups.values()):  # noqa: PLR2004 - one is no split
        return None
    ordered = sorted(groups.items(), key=lambda entry: (_acquired_at(entry[1]), str(entry[0])))
    name = " and ".join(label for label, _ in keys)
    return tuple(
        Stack(tuple(group), f"{name} {_shown(values)} ({index + 1} of {len(ordered)})", index)
        for index, (values, group) in enumerate(ordered)
    )


def _split_by_time(slices: Sequence[Slice], places: int) -> tuple[Stack, ...] | None:
    """Take the first plane of each place as the first phase, and so on; the phases must not overlap in time."""
    at_place: dict[tuple[float, ...], list[Slice]] = {}
    for item in sorted(slices, key=_moment):
        at_place.setdefault(item.place, []).append(item)
    counts = {len(items) for items in at_place.values()}
    if len(counts) != 1:
        return None
    phases = [[items[index] for items in at_place.values()] for index in range(counts.pop())]
    moments = [[_moment(item) for item in phase] for phase in phases]
    apart = all(max(before) < min(after) for before, after in pairwise(moments))
    if not apart or not all(_is_volume(phase, places) for phase in phases):
        return None
    return tuple(
        Stack(tuple(phase), f"phase ({index + 1} of {len(phases)})", index) for index, phase in enumerate(phases)
    )


def _is_volume(group: Sequence[Slice], places: int) -> bool:
    """Say whether planes lie each at a place of its own, and at enough of them."""
    return len({item.place for item in group}) == len(group) >= _FEWEST_SHARE * places


def _moment(item: Slice) -> tuple[str, int]:
    return item.plane.acquisition.at, item.plane.acquisition.instance_number or 0


def _acquired_at(group: Sequence[Slice]) -> tuple[str, int]:
    return min(_moment(item) for item in group)


def _shown(values: tuple[Hashable, ...]) -> str:
    return ", ".join(_one_shown(value) for value in values)


def _one_shown(value: Hashable) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, tuple):
        return "/".join(str(part) for part in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
