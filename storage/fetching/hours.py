"""The hours of the day in which a source may be asked for images."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Self

from storage.errors import FetchSourceInvalid

_FORM = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")


@dataclass(frozen=True, slots=True)
class Hours:
    """A span of the day in UTC, which may go on beyond midnight; the first minute is in it, the last is not."""

    begin: time
    end: time

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``20:00-06:00``; FetchSourceInvalid."""
        found = _FORM.fullmatch(text.strip())
        if found is None or text[:5] == text[6:]:
            raise FetchSourceInvalid(f"{text!r} are no hours of a day: write FROM-UNTIL in UTC, such as 20:00-06:00")
        first, second, third, fourth = map(int, found.groups())
        return cls(time(first, second), time(third, fourth))

    def __str__(self) -> str:
        return f"{self.begin:%H:%M}-{self.end:%H:%M}"

    def opens_at(self, now: datetime) -> datetime:
        """Return when the span is open from, at ``now`` or later: ``now`` where it is open."""
        moment = now.astimezone(UTC)
        if self._holds(moment.time()):
            return now
        today = moment.replace(hour=self.begin.hour, minute=self.begin.minute, second=0, microsecond=0)
        return today if today > moment else today + timedelta(days=1)

    def _holds(self, moment: time) -> bool:
        if self.begin < self.end:
            return self.begin <= moment < self.end
        return moment >= self.begin or moment < self.end
