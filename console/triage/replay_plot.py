"""A replay as a picture: alarms a day, and how long studies with a finding wait to be read."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from pathlib import Path
from statistics import mean

from console.triage.plot_canvas import Axis, Canvas, Ink, Panel, Point, Stroke, ticks
from console.triage.replay_form import DayForm, TriageReplayForm
from storage.triage.queue_model import WaitingTimes
from storage.triage.replay_tally import ReplayResult

_WIDTH, _HEIGHT = 1200, 500
_TOP, _BOTTOM = 150, _HEIGHT - 70
_LEFT_PANEL, _RIGHT_PANEL = (70, 570), (680, 1160)
_MOST_STEPS = 120
_MOST_DATES = 5
_LONGEST_NAME = 36
_UNITS = ((300.0, 1.0, "minutes"), (72 * 60.0, 60.0, "hours"), (math.inf, 24 * 60.0, "days"))
"""Up to how many minutes an axis is in which unit, and how many minutes that has."""
_HEADROOM = 1.05
_SHOWN_PERCENT = 99
_OLD, _NEW = Stroke(Ink.OLD), Stroke(Ink.NEW)
_FIRST_COME = Stroke(Ink.PLAIN, dash=7)


def write(path: Path, form: TriageReplayForm, result: ReplayResult) -> None:
    """Draw a replay of at least one analysis into a PNG file; OSError names the file."""
    canvas = Canvas(_WIDTH, _HEIGHT)
    days = f"{form.days[0].day} to {form.days[-1].day}"
    canvas.heading((40, 40), f"Triage decided again: {form.analyses:,} analyses, {days}")
    entries = ((form.before.name, _OLD), (form.after.name, _NEW), ("first come, first read", _FIRST_COME))
    canvas.legend((40, 70), entries, most=_LONGEST_NAME)
    _draw_alarms(canvas, form.days)
    _draw_waits(canvas, form, result)
    canvas.write(path)


def _draw_alarms(canvas: Canvas, days: Sequence[DayForm]) -> None:
    every = math.ceil(len(days) / _MOST_STEPS)
    before, after = (list(_means(counts, every)) for counts in _counts(days))
    most = _HEADROOM * max(*before, *after, 1.0)
    up = Axis("studies that are STAT or HIGH" + ("" if every == 1 else f", mean of {every} days"), most, ticks(most))
    across = Axis("day (UTC)", float(len(before)), tuple(_dates(days[0].day, len(before), every)))
    panel = Panel(_LEFT_PANEL[0], _TOP, _LEFT_PANEL[1], _BOTTOM, across, up)
    canvas.axes(panel, "Alarms a day")
    for heights, stroke in ((before, _OLD), (after, _NEW)):
        canvas.curve(panel, list(_steps(heights)), stroke)


def _counts(days: Sequence[DayForm]) -> tuple[list[int], list[int]]:
    return [day.before for day in days], [day.after for day in days]


def _means(counts: Sequence[int], every: int) -> Iterator[float]:
    for first in range(0, len(counts), every):
        yield mean(counts[first : first + every])


def _dates(first: date, steps: int, every: int) -> Iterator[tuple[float, str]]:
    """Yield ticks in the middle of some days."""
    for step in range(0, steps, math.ceil(steps / _MOST_DATES)):
        yield step + 0.5, (first + timedelta(days=step * every)).isoformat()


def _steps(heights: Sequence[float]) -> Iterator[Point]:
    for day, height in enumerate(heights):
        yield day, height
        yield day + 1, height


def _draw_waits(canvas: Canvas, form: TriageReplayForm, result: ReplayResult) -> None:
    sides = (
        (result.waiting_first_come.positive, _FIRST_COME),
        (result.waiting_before.positive, _OLD),
        (result.waiting_after.positive, _NEW),
    )
    longest = max((waits.percentiles[_SHOWN_PERCENT] for waits, _ in sides if waits.studies), default=0.0)
    _, unit, name = next(one for one in _UNITS if longest < one[0])
    end = max(longest / unit, 1.0)
    readers = "1 reader" if form.model.readers == 1 else f"{form.model.readers} readers"
    model = f"{readers}, {form.model.minutes_per_study:g} minutes a study"
    across = Axis(f"{name} from the last image until read ({model})", end, ticks(end))
    up = Axis(f"% of {sides[0][0].studies:,} studies with a finding that are read by then", 100.0, ticks(100.0, most=5))
    panel = Panel(_RIGHT_PANEL[0], _TOP, _RIGHT_PANEL[1], _BOTTOM, across, up)
    canvas.axes(panel, "Waiting of studies with a finding")
    if not sides[0][0].studies:
        middle = ((panel.left + panel.right) / 2, (panel.top + panel.bottom) / 2)
        canvas.text(middle, "nothing was found in any study", Ink.GREY, anchor="mm")
    for waits, stroke in sides:
        canvas.curve(panel, list(_shares(waits, unit)), stroke)


def _shares(waits: WaitingTimes, unit: float) -> Iterator[Point]:
    """Yield the share that is read by each time."""
    for share, minutes in enumerate(waits.percentiles):
        yield minutes / unit, share
