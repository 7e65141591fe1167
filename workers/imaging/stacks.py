"""One series, several volumes: planes at the same places are told apart by how they came about.

Echoes, b-values, contrast phases and time points often share a series, and planes of another scan may lie among those
of a stack. What belongs together is found from the planes themselves, never from the order of the files.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise, product

from workers.errors import WorkerError
from workers.imaging.grids import regular_grid
from workers.imaging.slices import Slice, number_places, number_sides

_FEWEST_SHARE = 0.5
"""A part of a series holds at least this share of its places; what is smaller is no volume of its own."""
_MAIN_SHARE = 2 / 3
"""Planes of another scan are set aside where the stack that stays holds at least this share of all."""
_MOST_KEYS = 2
_LENIENCE = ((0, 0.0), (2, 0.0), (2, 0.25))
"""How many images of a part may lie at a place that is taken already (whether they are copies, their pixels say later),
and which share of all may be fragments that are no part; the strictest is tried first."""


@dataclass(frozen=True, slots=True)
class Stack:
    """Planes that may become one volume. ``part`` says which of its series it is, empty where it is the only one.

    ``order`` counts the parts of a series as they were acquired, from 0.
    """

    slices: tuple[Slice, ...]
    part: str = ""
    order: int = 0


@dataclass(frozen=True, slots=True)
class Parts:
    """What one orientation of a series falls into: volumes, and planes that belong to none of them."""

    stacks: tuple[Stack, ...]
    odd: tuple[Slice, ...] = ()


Key = Callable[[Slice], Hashable]
Rank = Callable[[Slice], tuple[str, int]] | Callable[[Slice], float]

_STACK: tuple[str, Key] = ("stack", lambda item: item.plane.acquisition.stack or None)
_PROTOCOL: tuple[tuple[str, Key], ...] = (
    _STACK,
    ("echo", lambda item: item.plane.acquisition.echo),
    ("b-value", lambda item: item.plane.acquisition.b_value),
    ("inversion", lambda item: item.plane.acquisition.inversion_ms),
    ("component", lambda item: item.plane.acquisition.component or None),
    ("thickness", lambda item: item.plane.thickness_mm),
)
"""What was set differently: planes that differ in one of these are of different scans."""
_REPETITION: tuple[tuple[str, Key], ...] = (
    ("time point", lambda item: item.plane.acquisition.temporal_position),
    ("trigger", lambda item: item.plane.acquisition.trigger_ms),
    ("acquisition", lambda item: item.plane.acquisition.number),
)
"""What was done again with the same settings."""
_KEYS = (*_PROTOCOL[:4], _REPETITION[0], *_PROTOCOL[4:], *_REPETITION[1:])
"""What tells parts apart, the most telling first."""


def split_parts(slices: Sequence[Slice]) -> Parts | None:
    """Split planes of one orientation so that no part has two planes at one place; None where nothing tells them apart.

    One regular stack stays one. Otherwise one attribute is tried before two together, then the order in which the
    planes of each place were acquired, then whether a few planes of another scan lie among those of a stack. Single
    planes too many, and gaps, make no parts: who builds the volume decides about them.
    """
    if _is_regular(slices):
        return Parts((Stack(tuple(slices)),))
    for split in _SPLITS:
        parts = split(slices)
        if parts is not None:
            return parts
    crowded = max(Counter(number_places(slices)).values()) > 2  # noqa: PLR2004 - two may be copies, which pixels tell
    return None if crowded else Parts((Stack(tuple(slices)),))


def _split_by_stack(slices: Sequence[Slice]) -> Parts | None:
    """Believe StackID (PS3.3 C.7.6.16.2.2.4) where each stack is regular by itself."""
    groups = _grouped(slices, (_STACK,))
    if len(groups) < 2 or not all(_is_regular(group) for group in groups.values()):  # noqa: PLR2004 - one is no split
        return None
    return _named(groups, (_STACK,))


def _split_by_side(slices: Sequence[Slice]) -> Parts | None:
    """Tell stacks apart that lie beside each other, as of both knees, where each is regular by itself."""
    sides = dict(zip(map(id, slices), number_sides(slices), strict=True))
    key: tuple[str, Key] = ("side", lambda item: sides[id(item)] + 1)
    groups = _grouped(slices, (key,))
    if len(groups) < 2 or not all(_is_regular(group) for group in groups.values()):  # noqa: PLR2004 - one is no split
        return None
    return _named(groups, (key,))


def _split_by_keys(slices: Sequence[Slice]) -> Parts | None:
    numbers = number_places(slices)
    places = {id(item): number for item, number in zip(slices, numbers, strict=True)}
    fewest = _FEWEST_SHARE * len(set(numbers))
    if len(slices) - len(set(numbers)) < fewest:
        return None
    combined = [keys for count in range(1, _MOST_KEYS + 1) for keys in combinations(_KEYS, count)]
    for (twins, fragments), keys in product(_LENIENCE, combined):
        groups = _grouped(slices, keys)
        taken = {values: len({places[id(item)] for item in group}) for values, group in groups.items()}
        whole = {
            values: group
            for values, group in groups.items()
            if taken[values] >= fewest and len(group) - taken[values] <= twins
        }
        rest = [item for values, group in groups.items() if values not in whole for item in group]
        if len(whole) > 1 and len(rest) <= fragments * len(slices):
            return replace(_named(whole, keys), odd=tuple(rest))
    return None


def _split_by_trigger(slices: Sequence[Slice]) -> Parts | None:
    """Take the first trigger time of each place as the first phase, and so on, as in a cine of the heart."""
    if any(item.plane.acquisition.trigger_ms is None for item in slices):
        return None
    phases = _ranked_at_place(slices, lambda item: item.plane.acquisition.trigger_ms or 0.0)
    if phases is None:
        return None
    times = [[item.plane.acquisition.trigger_ms for item in items] for items in zip(*phases, strict=True)]
    if any(len(set(at_place)) < len(at_place) for at_place in times):
        return None
    return _numbered(phases, "trigger")


def _split_by_time(slices: Sequence[Slice]) -> Parts | None:
    """Take the first plane of each place as the first phase, and so on; the phases must not overlap in time."""
    phases = _ranked_at_place(slices, _moment)
    if phases is None:
        return None
    moments = [[_moment(item) for item in phase] for phase in phases]
    apart = all(max(before) < min(after) for before, after in pairwise(moments))
    return _numbered(phases, "phase") if apart else None


def _without_other_scans(slices: Sequence[Slice]) -> Parts | None:
    """Set planes aside that differ in their settings from a regular stack among whose planes they lie.

    Planes beyond either end of the stack are no such thing: there a gap is a slice that was lost. Planes that merely
    repeat some of the stack, whole enough to be seen as a scan of their own, become a part of their own.
    """
    for keys in combinations((*_PROTOCOL, *_REPETITION), 1):
        groups = sorted(_grouped(slices, keys).values(), key=len, reverse=True)
        main, others = groups[0], [item for group in groups[1:] for item in group]
        if len(main) < _MAIN_SHARE * len(slices) or not _is_regular(main) or not _lies_within(others, main):
            continue
        if keys[0] in _PROTOCOL:
            return Parts((Stack(tuple(main)),), tuple(others))
        if all(_is_regular(group) and len(group) > 2 for group in groups):  # noqa: PLR2004 - a lone twin is a doubt
            return _named(_grouped(slices, keys), keys)
    return None


def _lies_within(others: Sequence[Slice], main: Sequence[Slice]) -> bool:
    places = number_places([*main, *others])
    first, last = min(places[: len(main)]), max(places[: len(main)])
    return all(first <= place <= last for place in places[len(main) :])


def _ranked_at_place(slices: Sequence[Slice], rank: Rank) -> list[list[Slice]] | None:
    """Return the first plane of each place, the second of each, and so on; None unless all places hold equally many."""
    at_place: dict[int, list[Slice]] = defaultdict(list)
    for item, place in zip(slices, number_places(slices), strict=True):
        at_place[place].append(item)
    ranked = [sorted(items, key=rank) for items in at_place.values()]
    counts = {len(items) for items in ranked}
    if len(counts) != 1 or counts == {1}:
        return None
    return [list(phase) for phase in zip(*ranked, strict=True)]


_SPLITS = (
    _split_by_stack,
    _split_by_side,
    _split_by_keys,
    _split_by_trigger,
    _split_by_time,
    _without_other_scans,
)


def _grouped(slices: Sequence[Slice], keys: Sequence[tuple[str, Key]]) -> dict[tuple[Hashable, ...], list[Slice]]:
    groups: dict[tuple[Hashable, ...], list[Slice]] = defaultdict(list)
    for item in slices:
        groups[tuple(key(item) for _, key in keys)].append(item)
    return groups


def _named(groups: dict[tuple[Hashable, ...], list[Slice]], keys: Sequence[tuple[str, Key]]) -> Parts:
    ordered = sorted(groups.items(), key=lambda entry: (_acquired_at(entry[1]), str(entry[0])))
    name = " and ".join(label for label, _ in keys)
    return Parts(
        tuple(
            Stack(tuple(group), f"{name} {_shown(values)} ({index + 1} of {len(ordered)})", index)
            for index, (values, group) in enumerate(ordered)
        )
    )


def _numbered(phases: Sequence[Sequence[Slice]], name: str) -> Parts:
    return Parts(
        tuple(
            Stack(tuple(phase), f"{name} ({index + 1} of {len(phases)})", index) for index, phase in enumerate(phases)
        )
    )


def _is_regular(slices: Sequence[Slice]) -> bool:
    try:
        regular_grid([item.plane for item in slices])
    except WorkerError:
        return False
    return True


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
