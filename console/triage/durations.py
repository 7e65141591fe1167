"""Spans of time as people read them."""

from __future__ import annotations

from collections.abc import Sequence

_UNITS: Sequence[tuple[float, str, int]] = ((1, "s", 60), (60, "min", 60), (3_600, "h", 24))
"""Seconds of each unit but the largest, its name, and how many make the next one."""

_DAY = 86_400
_NOTHING = "\N{EN DASH}"
_TWO_DIGITS = 9.95


def spoken(seconds: float | None) -> str:
    """Write a span in its largest unit, with one decimal where it is small; a dash where there is none."""
    if seconds is None:
        return _NOTHING
    for size, unit, most in _UNITS:
        if round(seconds / size) < most:
            return _number(seconds / size, unit)
    return _number(seconds / _DAY, "d")


def _number(value: float, unit: str) -> str:
    short = f"{value:.0f}" if value >= _TWO_DIGITS else f"{value:.1f}".removesuffix(".0")
    return f"{short} {unit}"
