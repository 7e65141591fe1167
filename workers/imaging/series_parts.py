"""What one series falls into: stacks that may become volumes, and planes that may not, by what is wrong with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from workers.imaging.orientations import is_survey, split_orientations
from workers.imaging.slices import Slice
from workers.imaging.stacks import Stack, split_parts

_ODD_SHARE = 0.25
"""Planes of another orientation are no volume of their own where they are fewer than this share of the largest."""


@dataclass(slots=True)
class SeriesParts:
    """The stacks of a series, and the planes of it that belong to none."""

    stacks: list[Stack] = field(default_factory=list)
    survey: list[Slice] = field(default_factory=list)
    """All planes of a three-plane survey."""
    few: list[Slice] = field(default_factory=list)
    """Too few to be a volume."""
    odd: list[Slice] = field(default_factory=list)
    """Of another orientation, size or scan than the stack beside which they lie."""
    crowded: list[Slice] = field(default_factory=list)
    """Several at each place, and nothing tells them apart."""


def split_series(slices: Sequence[Slice], *, fewest: int) -> SeriesParts:
    """Split the planes of a series by orientation and then by what tells them apart; a stack has ``fewest`` planes."""
    parts = SeriesParts()
    groups = split_orientations(slices)
    if is_survey(groups):
        parts.survey += slices
        return parts
    enough = max(fewest, _ODD_SHARE * len(groups[0])) if groups else fewest
    large = [group for group in groups if len(group) >= enough]
    for group in groups[len(large) :]:
        (parts.odd if large else parts.few).extend(group)
    for number, group in enumerate(large, start=1):
        _add_group(parts, group, angle=f"orientation {number} of {len(large)}" if len(large) > 1 else "")
    return parts


def _add_group(parts: SeriesParts, group: Sequence[Slice], *, angle: str) -> None:
    found = split_parts(group)
    if found is None:
        parts.crowded += group
        return
    parts.odd += found.odd
    parts.stacks += [_at_angle(stack, angle) for stack in found.stacks]


def _at_angle(stack: Stack, angle: str) -> Stack:
    """Say of a part which orientation it has, where its series holds several that could be volumes."""
    return replace(stack, part=", ".join(filter(None, (angle, stack.part))))
