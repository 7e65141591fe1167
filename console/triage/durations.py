"""Spans of time as people read them."""

from __future__ import annotations

from collections.abc import Sequence

_UNITS: Sequence[tuple[float, str]] = ((86_400, "d"), (3_600, "h"), (60, "min"))
_NOTHING = "\N{EN DASH}"
_TWO_DIGITS = 10


def spoken(seconds: float | None) -> str:
    """Write a span in its largest unit, with one decimal where it is small; a dash where there is none."""
    if seconds is None:
        return _NOTHING
    for size, unit in _UNITS:
        if seconds >= size:
            return _number(seconds / size, unit)
    return _number(seconds, "s")


def _number(value: float, unit: str) -> str:
    short = f"{value:.0f}" if value >= _TWO_DIGITS else f"{value:.1f}".removesuffix(".0")
    return f"{short} {unit}"
