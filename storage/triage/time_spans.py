"""Times of day and days of the week in which a rule holds, on the clock of the policy's time zone."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import Self

_DAY = 24 * 60
_WEEK = 7 * _DAY
_FORM = re.compile(r"([0-9]{2}):([0-9]{2})-([0-9]{2}):([0-9]{2})")


class Weekday(StrEnum):
    """A day of the week."""

    MONDAY = "monday"
    TUESDAY = "tuesday"
    WEDNESDAY = "wednesday"
    THURSDAY = "thursday"
    FRIDAY = "friday"
    SATURDAY = "saturday"
    SUNDAY = "sunday"


@dataclass(frozen=True, slots=True)
class TimeSpan:
    """From one minute of the day up to another, which is not in it; over midnight where the second comes first."""

    begin: int
    end: int

    @classmethod
    def of(cls, text: str) -> Self:
        """Read ``HH:MM-HH:MM``; 24:00 is the end of the day. ValueError for anything else, and for an empty span."""
        found = _FORM.fullmatch(text.strip())
        if found is None:
            raise ValueError(f'{text!r} is no span of time: write it as "18:00-07:00"')
        hours, minutes, last_hours, last_minutes = map(int, found.groups())
        begin, end = hours * 60 + minutes, last_hours * 60 + last_minutes
        if begin >= _DAY or end > _DAY or max(minutes, last_minutes) >= 60:  # noqa: PLR2004 - minutes of an hour
            raise ValueError(f"{text!r} names a time that no day has")
        if begin == end:
            raise ValueError(f"{text!r} is an empty span; leave it out for the whole day")
        return cls(begin, end)

    @property
    def length(self) -> int:
        """How many minutes it has."""
        return (self.end - self.begin) % _DAY or _DAY


@lru_cache(maxsize=64)
def minutes_of_week(span: TimeSpan | None, weekdays: tuple[Weekday, ...] | None) -> frozenset[int]:
    """Return the minutes of a week, counted from Monday 00:00, that lie in a span on some days.

    A span that goes over midnight belongs to the day on which it begins. None is the whole day, and all days.
    """
    whole = span or TimeSpan(0, _DAY)
    days: Iterable[int] = (list(Weekday).index(day) for day in weekdays or Weekday)
    begins = [day * _DAY + whole.begin for day in days]
    return frozenset((begin + minute) % _WEEK for begin in begins for minute in range(whole.length))


def minute_of_week(local: datetime) -> int:
    """Return which minute of its week a local time is in."""
    return local.weekday() * _DAY + local.hour * 60 + local.minute
