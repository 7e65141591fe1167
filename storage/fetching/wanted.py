"""Which studies of a source are wanted: query keys by keyword, with days that move along."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Self

from storage.errors import FetchSourceInvalid

KEYS = (
    "StudyDate",
    "StudyTime",
    "ModalitiesInStudy",
    "StudyDescription",
    "AccessionNumber",
    "ReferringPhysicianName",
    "PatientID",
    "StudyID",
)
"""Keys of the STUDY level that a filter may have (PS3.4 Table C.6-5); names of patients are left out."""

_DAY = r"today|yesterday|-\d{1,4}d|\d{8}"
_DAYS = re.compile(rf"(?:({_DAY})|({_DAY})?\.\.({_DAY})?)")
_LONGEST = 64


@dataclass(frozen=True, slots=True)
class Wanted:
    """The keys of a filter, as somebody wrote them."""

    keys: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, texts: tuple[str, ...]) -> Self:
        """Read ``KEY=VALUE`` of each text; FetchSourceInvalid says what is wrong."""
        keys: dict[str, str] = {}
        for text in texts:
            key, equals, value = text.partition("=")
            if not equals or key not in KEYS:
                raise FetchSourceInvalid(f"a filter is KEY=VALUE, with one of {', '.join(KEYS)} as the key")
            if not value or len(value) > _LONGEST or not value.isprintable() or "\\" in value:
                raise FetchSourceInvalid(f"the value of {key} is 1 to {_LONGEST} characters without a backslash")
            if key == "StudyDate":
                _days(value)
            keys[key] = value
        return cls(keys)

    @classmethod
    def read(cls, text: str) -> Self:
        """Return what ``text`` wrote."""
        return cls(dict(json.loads(text)))

    def text(self) -> str:
        """Return the keys as canonical JSON."""
        return json.dumps(dict(self.keys), sort_keys=True, ensure_ascii=False)

    def at(self, now: datetime) -> dict[str, str]:
        """Return the keys as they are asked at a moment: days in the form of the standard (VR DA, PS3.5 6.2)."""
        found = dict(self.keys)
        if "StudyDate" in found:
            found["StudyDate"] = "-".join(_written(day, now) for day in dict.fromkeys(_days(found["StudyDate"])))
        return found


def _days(text: str) -> tuple[str, ...]:
    """Return the one day, or the first and the last one, of which one may be empty."""
    found = _DAYS.fullmatch(text)
    if found is None or not any(found.groups()):
        raise FetchSourceInvalid(
            f"{text!r} are no days: write 20261128, today, yesterday, -7d (a week ago), or a span such as -7d.."
        )
    single, first, last = found.groups()
    return (single,) if single else (first or "", last or "")


def _written(day: str, now: datetime) -> str:
    moment = now.astimezone(UTC)
    if day == "today":
        return f"{moment:%Y%m%d}"
    if day == "yesterday":
        return f"{moment - timedelta(days=1):%Y%m%d}"
    return f"{moment - timedelta(days=int(day[1:-1])):%Y%m%d}" if day.startswith("-") else day
