"""Where a list goes on: the place of its last row in the list's order, as text that people and programs hand back.

Texts are safe in an address as they are. A place stays good when its row has moved or gone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime

from storage.errors import CursorInvalid

_BETWEEN = "~"
_LARGEST = 2**63 - 1


@dataclass(frozen=True, slots=True)
class ArrivalPlace:
    """A place in lists of the newest arrivals first: ``TIME~STUDY``."""

    arrived_at: datetime
    study_id: int

    def __str__(self) -> str:
        """Return it as text."""
        return f"{_written(self.arrived_at)}{_BETWEEN}{self.study_id}"

    @classmethod
    def read(cls, text: str) -> ArrivalPlace:
        """Return the place that a text names; CursorInvalid says what it must look like."""
        try:
            moment, study_id = text.split(_BETWEEN)
            return cls(_moment(moment), _number(study_id))
        except ValueError as error:
            raise _invalid("TIME~STUDY, as in 2026-03-01T12:00:00.000000Z~17") from error


@dataclass(frozen=True, slots=True)
class ReadingPlace:
    """A place in the reading order: ``RANK~CONFIDENCE~TIME~STUDY``; rank 0 is read first."""

    rank: int
    confidence: float
    arrived_at: datetime
    study_id: int

    def __str__(self) -> str:
        """Return it as text."""
        return _BETWEEN.join((str(self.rank), repr(self.confidence), _written(self.arrived_at), str(self.study_id)))

    @classmethod
    def read(cls, text: str) -> ReadingPlace:
        """Return the place that a text names; CursorInvalid says what it must look like."""
        try:
            rank, confidence, moment, study_id = text.split(_BETWEEN)
            return cls(_number(rank), _finite(confidence), _moment(moment), _number(study_id))
        except ValueError as error:
            raise _invalid("RANK~CONFIDENCE~TIME~STUDY, as in 1~0.875~2026-03-01T12:00:00.000000Z~17") from error


def number_place(text: str) -> int:
    """Return the number that a list of numbered rows goes on after; CursorInvalid for any other text."""
    try:
        return _number(text)
    except ValueError as error:
        raise _invalid("the number of the last row, as in 17") from error


def _invalid(form: str) -> CursorInvalid:
    return CursorInvalid(f"this is no place to go on from; give the `cursor` of an entry of the same list: {form}")


def _written(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a time without a zone")
    return moment.astimezone(UTC)


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) > _LARGEST:
        raise ValueError("not a number that the database counts with")
    return int(text)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("not a number")
    return value
