"""A question to the history: which events, and in which order."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum

from storage.errors import QuestionInvalid

_CURSOR = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00)~(\d{1,18})", re.ASCII)
_NARROW = frozenset({"patient_key", "study", "series", "object"})


class Order(StrEnum):
    """Which events come first; those of one time come by their numbers."""

    NEWEST = "newest"
    OLDEST = "oldest"


@dataclass(frozen=True, slots=True)
class Question:
    """Which events are asked for: those that pass every filter; None passes all.

    ``action`` is a tag, or ends with a colon and is the beginning of tags. ``object`` is a subject of events, or the
    UID of an instance or a study. ``weights`` is a digest or its beginning. ``since`` is counted in, ``until`` is not.
    All ``words`` are to be in the details.
    """

    patient_key: str | None = None
    study: str | None = None
    series: str | None = None
    object: str | None = None
    actor: str | None = None
    action: str | None = None
    outcome: str | None = None
    route: str | None = None
    model: str | None = None
    weights: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    words: str | None = None

    @property
    def filters(self) -> frozenset[str]:
        """The names of the filters that are set."""
        return frozenset(field.name for field in fields(self) if getattr(self, field.name) is not None)

    @property
    def is_narrow(self) -> bool:
        """Whether it leaves so few events that whatever else is asked can be looked up in each of them."""
        return bool(self.filters & _NARROW)


@dataclass(frozen=True, slots=True)
class Place:
    """Where an event stands in the order of lists; as text it is the cursor that asks for what follows."""

    at: str
    seq: int

    @classmethod
    def parse(cls, cursor: str) -> Place:
        """Return the place that a cursor names; QuestionInvalid for any other text."""
        found = _CURSOR.fullmatch(cursor)
        if found is None:
            raise QuestionInvalid("this is no cursor: give the one that came with the page before, TIME~NUMBER")
        return cls(found[1], int(found[2]))

    def __str__(self) -> str:
        return f"{self.at}~{self.seq}"
