"""The figure of waiting times, and how times are written."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from console.urgent.durations import spoken
from console.urgent.times_figure import MOST_GROUPS, figure
from storage.announcing.waiting_times import Span, TimesBy, TimesReport, WaitingTimes

SVG = "{http://www.w3.org/2000/svg}"
NEVER = Span(0, None, None, 0)


def group(name: str | None, median: float = 60, tail: float = 600, *, opened: Span = NEVER) -> WaitingTimes:
    span = Span(3, median, tail, 0)
    return WaitingTimes(name, 3, span, span, opened, unopened=3)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, "\N{EN DASH}"), (0, "0 s"), (0.25, "0.2 s"), (59, "59 s"), (60, "1 min"), (95, "1.6 min"), (3600, "1 h"),
     (59.6, "1 min"), (3_590, "1 h"), (86_399, "1 d"), (36_000, "10 h"), (86_400, "1 d"), (10_000_000, "116 d")],
)  # fmt: skip # reads by its lines
def test_times_are_written_in_their_largest_unit(seconds: float | None, words: str) -> None:
    assert spoken(seconds) == words


def test_each_group_has_its_dots_in_the_order_of_time() -> None:
    drawn = ET.fromstring(figure(TimesReport((group("liver"),), group(None)), TimesBy.ROUTE, alone=True))  # noqa: S314 - our own
    dots = [float(dot.get("cx", "")) for dot in drawn.iter(f"{SVG}circle") if dot.get("class") == "announced"]
    tails = [float(dot.get("cx", "")) for dot in drawn.iter(f"{SVG}circle") if dot.get("class") == "announced tail"]
    assert len(dots) == 2, "one of the legend, one of the group"
    assert dots[1] < tails[0]
    words = [text.text for text in drawn.iter(f"{SVG}text")]
    assert "liver" in words
    assert "all" not in words, "one group is all"
    assert {"1 min", "10 min"} <= set(words)


@pytest.mark.parametrize(("median", "tail"), [(0, 0), (0.001, 0.002), (1, 1), (5, 1e9), (864_000, 864_000)])
def test_any_times_stay_inside_the_figure(median: float, tail: float) -> None:
    drawn = ET.fromstring(figure(TimesReport((group("a", median, tail),), group(None)), TimesBy.ROUTE))  # noqa: S314 - our own
    places = [float(dot.get("cx", "")) for dot in drawn.iter("circle")]
    assert all(100 <= place <= 760 for place in places)


def test_names_of_channels_cannot_break_it_and_many_groups_are_cut() -> None:
    groups = tuple(group(f"<b>{number:03}&") for number in range(MOST_GROUPS + 5))
    drawn = ET.fromstring(figure(TimesReport(groups, group(None)), TimesBy.CHANNEL))  # noqa: S314 - our own
    names = [text.text for text in drawn.iter("text") if text.text and text.text.startswith("<b>")]
    assert len(names) == MOST_GROUPS
    assert names[-1] == f"<b>{MOST_GROUPS + 4:03}&"


def test_without_studies_there_is_no_figure() -> None:
    nothing = WaitingTimes(None, 0, NEVER, NEVER, NEVER, unopened=0)
    assert figure(TimesReport((), nothing), TimesBy.DAY) == ""
