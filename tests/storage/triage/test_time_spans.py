"""Spans of the day, also over midnight, and the days to which they belong."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from storage.triage.time_spans import TimeSpan, Weekday, minute_of_week, minutes_of_week

BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    "text", ["18-07", "18:00", "25:00-07:00", "18:60-19:00", "07:00-07:00", "24:00-01:00", "night"]
)
def test_what_is_no_span_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"span|time"):
        TimeSpan.of(text)


def _holds(text: str, moment: datetime, *days: Weekday) -> bool:
    return minute_of_week(moment) in minutes_of_week(TimeSpan.of(text), days or None)


def test_a_span_holds_its_first_minute_and_not_its_last() -> None:
    for time, expected in (((17, 59), False), ((18, 0), True), ((23, 59), True), ((6, 59), True), ((7, 0), False)):
        assert _holds("18:00-07:00", datetime(2026, 3, 4, *time, tzinfo=BERLIN)) is expected
    assert _holds("12:00-24:00", datetime(2026, 3, 4, 23, 59, tzinfo=BERLIN))


def test_a_night_belongs_to_the_day_on_which_it_begins() -> None:
    saturday, sunday = datetime(2026, 3, 7, 3, 0, tzinfo=BERLIN), datetime(2026, 3, 8, 3, 0, tzinfo=BERLIN)
    assert _holds("18:00-07:00", saturday, Weekday.FRIDAY)
    assert not _holds("18:00-07:00", sunday, Weekday.FRIDAY)
    monday = datetime(2026, 3, 9, 3, 0, tzinfo=BERLIN)
    assert _holds("18:00-07:00", monday, Weekday.SUNDAY)
