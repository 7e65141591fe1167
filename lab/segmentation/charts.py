"""Plots of a report as inline SVG: they take their colours from the page and need no script."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lab.bootstrap import Estimate

LABELS = 280
PLOT = 520
ROW = 30
RIM = 24
VALUES = 50
TICKS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


@dataclass(frozen=True, slots=True)
class Strip:
    """One row of points in 0..1 with their mean and interval."""

    label: str
    values: tuple[float, ...]
    summary: Estimate | None


@dataclass(frozen=True, slots=True)
class Bar:
    """One value in 0..1 with its name."""

    label: str
    value: float


def strip_plot(strips: Sequence[Strip], *, title: str) -> str:
    """Draw every value as a dot, the mean as a bar across, the interval as a line."""
    drawn = "".join(_strip(strip, RIM + ROW * index) for index, strip in enumerate(strips))
    return _framed(drawn, rows=len(strips), title=title)


def bar_plot(bars: Sequence[Bar], *, title: str) -> str:
    """Draw one bar for each value, in the order given."""
    drawn = "".join(_bar(bar, RIM + ROW * index) for index, bar in enumerate(bars))
    return _framed(drawn, rows=len(bars), title=title)


def _framed(drawn: str, *, rows: int, title: str) -> str:
    height = 2 * RIM + ROW * rows
    grid = "".join(_tick(tick, height) for tick in TICKS)
    return (
        f'<svg viewBox="0 0 {LABELS + PLOT + VALUES} {height}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{grid}{drawn}</svg>"
    )


def _tick(value: float, height: int) -> str:
    x = _x(value)
    return (
        f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{RIM / 2}" y2="{height - RIM}"/>'
        f'<text class="tick" x="{x:.1f}" y="{height - 6}">{value:.1f}</text>'
    )


def _strip(strip: Strip, top: int) -> str:
    middle = top + ROW / 2
    dots = "".join(
        f'<circle class="dot" cx="{_x(value):.1f}" cy="{middle + _jitter(index):.1f}" r="3"/>'
        for index, value in enumerate(strip.values)
    )
    return f"{_label(strip.label, middle)}{dots}{_summary(strip.summary, middle)}"


def _summary(summary: Estimate | None, middle: float) -> str:
    if summary is None:
        return ""
    return (
        f'<line class="interval" x1="{_x(summary.lo):.1f}" x2="{_x(summary.hi):.1f}" y1="{middle}" y2="{middle}"/>'
        f'<line class="mean" x1="{_x(summary.mean):.1f}" x2="{_x(summary.mean):.1f}" y1="{middle - 10}" '
        f'y2="{middle + 10}"/>'
    )


def _bar(bar: Bar, top: int) -> str:
    middle = top + ROW / 2
    width = max(1.0, _x(bar.value) - LABELS)
    return (
        f'{_label(bar.label, middle)}<rect class="bar" x="{LABELS}" y="{middle - 8}" width="{width:.1f}" height="16"/>'
        f'<text class="value" x="{LABELS + width + 4:.1f}" y="{middle + 4}">{bar.value:.3f}</text>'
    )


def _label(text: str, middle: float) -> str:
    return f'<text class="label" x="{LABELS - 10}" y="{middle + 4}">{escape(text)}</text>'


def _x(value: float) -> float:
    return LABELS + PLOT * min(1.0, max(0.0, value))


def _jitter(index: int) -> float:
    """Keep equal values apart, the same way every time."""
    return (index * 5 % 9) - 4.0
