"""Charts of a report as inline SVG, which take their colours from the page's style sheet and need no script."""

from __future__ import annotations

import io
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from matplotlib import rc_context
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from matplotlib.axes import Axes

    from lab.bootstrap import Estimate

COLOURS = {"--ink": "#010101", "--faint": "#020202", "--accent": "#030303", "--mark": "#040404"}
"""What is drawn in each of these colours takes that of the page's style sheet instead, in light and in dark."""
NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))
WIDTH_INCHES = 8.5
ROW_INCHES = 0.3


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
    """Return SVG with a row for each strip: values as dots, the mean as an upright bar, the interval as a line."""
    figure, axes = _axes([strip.label for strip in strips])
    for row, strip in enumerate(strips):
        rows = [row + _jitter(index) for index in range(len(strip.values))]
        axes.scatter(strip.values, rows, s=14, color=COLOURS["--accent"], alpha=0.55, linewidths=0, clip_on=False)
        if strip.summary:
            mean, lo, hi = strip.summary.mean, strip.summary.lo, strip.summary.hi
            axes.plot([lo, hi], [row, row], color=COLOURS["--mark"], linewidth=1.5, clip_on=False)
            axes.plot([mean, mean], [row - 0.3, row + 0.3], color=COLOURS["--mark"], linewidth=2.2, clip_on=False)
    return _svg(figure, title)


def bar_plot(bars: Sequence[Bar], *, title: str) -> str:
    """Return SVG with one bar for each value, in the order given, and the value beside it."""
    figure, axes = _axes([bar.label for bar in bars])
    for row, bar in enumerate(bars):
        axes.barh(row, bar.value, height=0.55, color=COLOURS["--accent"], clip_on=False)
        axes.text(bar.value + 0.01, row, f"{bar.value:.3f}", va="center", color=COLOURS["--ink"])
    return _svg(figure, title)


def _style() -> AbstractContextManager[None]:
    """Return the settings of every chart: text stays text, no name is read as a formula, ids are the same each time."""
    return rc_context({"svg.fonttype": "none", "svg.hashsalt": "oncue", "text.parse_math": False, "font.size": 8.0})


def _axes(labels: Sequence[str]) -> tuple[Figure, Axes]:
    """Return an empty figure with a named row for each label, the first on top, and 0..1 to the right."""
    with _style():
        figure = Figure(figsize=(WIDTH_INCHES, ROW_INCHES * (len(labels) + 2)), layout="constrained")
        axes = figure.subplots()
        axes.set(xlim=(0.0, 1.0), ylim=(len(labels) - 0.5, -0.5))
        axes.set_yticks(range(len(labels)), labels)
        axes.tick_params(colors=COLOURS["--ink"], length=0)
        axes.grid(axis="x", color=COLOURS["--faint"], clip_on=False)
        axes.set_axisbelow(True)
        axes.spines[:].set_visible(False)
    figure.patch.set_visible(False)
    axes.patch.set_visible(False)
    return figure, axes


def _svg(figure: Figure, title: str) -> str:
    """Return the figure as an SVG element that is named for screen readers."""
    written = io.StringIO()
    with _style():
        figure.savefig(written, format="svg", metadata=NO_METADATA)
    drawn = written.getvalue()
    drawn = drawn[drawn.index("<svg ") :]
    for variable, colour in COLOURS.items():
        drawn = drawn.replace(colour, f"var({variable})")
    return drawn.replace("<svg ", f'<svg role="img" aria-label="{escape(title)}" ', 1)


def _jitter(index: int) -> float:
    """Return how far a dot lies from the middle of its row, so that equal values stay apart; the same every time."""
    return ((index * 5 % 9) - 4.0) / 30.0
