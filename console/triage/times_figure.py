"""A figure of how long urgent studies took: median and 95th percentile of each group, on a logarithmic axis."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree as ET

from console.triage.durations import spoken
from storage.announcing.waiting_times import Span, TimesBy, TimesReport, WaitingTimes

MOST_GROUPS = 31
"""Groups that a figure has room for; of more, the last ones by name are drawn."""

_TICKS = (1.0, 10.0, 60.0, 600.0, 3_600.0, 36_000.0, 86_400.0, 864_000.0, 8_640_000.0)
_MOMENTS = ("analysed", "announced", "opened")
_WIDTH, _LEFT, _RIGHT, _TOP, _BOTTOM = 760, 150, 24, 34, 40
_ROW, _LANE = 48, 13
_STYLE = """
svg { background: #ffffff; }
text { fill: #17212b; font: 12px system-ui, -apple-system, "Segoe UI", Roboto, Arial, sans-serif; }
.grid { stroke: #dde3e6; } .faint { fill: #5d6b78; }
.analysed { stroke: #175cd3; fill: #175cd3; } .announced { stroke: #0f766e; fill: #0f766e; }
.opened { stroke: #b54708; fill: #b54708; } .tail { fill: none; }
"""


@dataclass(frozen=True, slots=True)
class _Axis:
    """Where seconds stand from left to right, by their logarithm."""

    first: float
    last: float

    @classmethod
    def of(cls, groups: Sequence[WaitingTimes]) -> _Axis:
        """Return the axis from the tick before the shortest time to the one behind the longest."""
        values = [max(value, _TICKS[0]) for group in groups for span in _spans(group) for value in _ends(span)]
        shortest, longest = min(values, default=_TICKS[0]), max(values, default=_TICKS[1])
        first = max(tick for tick in _TICKS if tick <= shortest)
        last = next((tick for tick in _TICKS if tick >= longest and tick > first), longest)
        return cls(first, last)

    def ticks(self) -> tuple[float, ...]:
        """Return the ticks that it shows."""
        return tuple(tick for tick in _TICKS if self.first <= tick <= self.last)

    def x(self, seconds: float) -> float:
        """Return where a time stands."""
        share = math.log(max(seconds, self.first) / self.first) / math.log(self.last / self.first)
        return round(_LEFT + share * (_WIDTH - _LEFT - _RIGHT), 1)


def figure(report: TimesReport, by: TimesBy, *, alone: bool = False) -> str:
    """Return the figure as SVG; ``alone`` is for a file of its own, which brings its colours along.

    A filled dot is the median, an open one the 95th percentile. An empty text where there is nothing to draw.
    """
    groups = [*report.groups[-MOST_GROUPS:], *([report.total] if len(report.groups) > 1 else [])]
    if not groups:
        return ""
    height = _TOP + _ROW * len(groups) + _BOTTOM
    root = ET.Element("svg", {"viewBox": f"0 0 {_WIDTH} {height}", "role": "img", "class": "times-figure"})
    ET.SubElement(root, "title").text = f"Time from the last image until analysed, announced and opened, by {by}"
    if alone:
        root.set("xmlns", "http://www.w3.org/2000/svg")
        root.set("width", str(_WIDTH))
        ET.SubElement(root, "style").text = _STYLE
    axis = _Axis.of(groups)
    _draw_axis(root, axis, height)
    for number, group in enumerate(groups):
        _draw_group(root, axis, group, _TOP + _ROW * number)
    return ET.tostring(root, encoding="unicode")


def _spans(group: WaitingTimes) -> tuple[Span, ...]:
    return group.analysed, group.announced, group.opened


def _ends(span: Span) -> Iterator[float]:
    yield from (value for value in (span.median_seconds, span.p95_seconds) if value is not None)


def _draw_axis(root: ET.Element, axis: _Axis, height: int) -> None:
    for tick in axis.ticks():
        x = str(axis.x(tick))
        ends = {"x1": x, "x2": x, "y1": str(_TOP - 4), "y2": str(height - _BOTTOM)}
        ET.SubElement(root, "line", {**ends, "class": "grid"})
        _write(root, spoken(tick), axis.x(tick), height - _BOTTOM + 16, anchor="middle", kind="faint")
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    legend = "after the last image; filled: median, open: 95th percentile"
    _write(root, legend, middle, height - 6, anchor="middle", kind="faint")
    for number, moment in enumerate(_MOMENTS):
        left = _LEFT + 110 * number
        ET.SubElement(root, "circle", {"cx": str(left), "cy": "14", "r": "4", "class": moment})
        _write(root, moment, left + 9, 18)


def _draw_group(root: ET.Element, axis: _Axis, group: WaitingTimes, top: int) -> None:
    _write(root, group.group or "all", _LEFT - 14, top + 20, anchor="end")
    _write(root, f"{group.studies} studies", _LEFT - 14, top + 35, anchor="end", kind="faint")
    for number, (moment, span) in enumerate(zip(_MOMENTS, _spans(group), strict=True)):
        if span.median_seconds is None or span.p95_seconds is None:
            continue
        y = str(top + 11 + _LANE * number)
        median, tail = str(axis.x(span.median_seconds)), str(axis.x(span.p95_seconds))
        ends = {"x1": median, "x2": tail, "y1": y, "y2": y, "stroke-width": "2"}
        ET.SubElement(root, "line", {**ends, "class": moment})
        open_dot = {"cx": tail, "cy": y, "r": "4", "stroke-width": "2", "fill": "none", "class": f"{moment} tail"}
        ET.SubElement(root, "circle", open_dot)
        ET.SubElement(root, "circle", {"cx": median, "cy": y, "r": "4.5", "class": moment})


def _write(root: ET.Element, text: str, x: float, y: float, *, anchor: str = "start", kind: str = "") -> None:
    place = {"x": str(x), "y": str(y), "text-anchor": anchor} | ({"class": kind} if kind else {})
    ET.SubElement(root, "text", place).text = text
