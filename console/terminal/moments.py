"""Times as people type them: a day, a time, or a span from now or before now."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta

import typer

_SPAN = re.compile(r"(\d{1,5})\s*(h|d|w)", re.ASCII)
_UNITS = {"h": "hours", "d": "days", "w": "weeks"}
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


def future(text: str, *, now: datetime) -> datetime:
    """Return the time that a text names, in UTC where it gives no zone; a day is meant to its end.

    BadParameter for what is no time, and for what is over.
    """
    try:
        moment = _moment(text, now)
    except (ValueError, OverflowError) as error:
        raise typer.BadParameter(
            f"{text!r} is no time: give a day (2027-06-30), a time (2027-06-30T12:00) or a span (12h, 90d, 4w)"
        ) from error
    if moment <= now:
        raise typer.BadParameter(f"{text} is over")
    return moment


def past(text: str | datetime) -> datetime:
    """Return the time that an option names, in UTC where it gives no zone; a day is meant from its beginning.

    A span counts back from now. BadParameter for what is no time.
    """
    if isinstance(text, datetime):
        return text
    now = datetime.now(UTC)
    try:
        span = _SPAN.fullmatch(text)
        return now - _length(span) if span is not None else _with_zone(datetime.fromisoformat(text))
    except (ValueError, OverflowError) as error:
        raise typer.BadParameter(
            f"{text!r} is no time: give a day (2026-03-01), a time (2026-03-01T08:30) "
            "or a span before now (12h, 7d, 4w)"
        ) from error


def _moment(text: str, now: datetime) -> datetime:
    span = _SPAN.fullmatch(text)
    if span is not None:
        return now + _length(span)
    if _DAY.fullmatch(text):
        return datetime.combine(date.fromisoformat(text) + timedelta(days=1), datetime.min.time(), UTC)
    return _with_zone(datetime.fromisoformat(text))


def _length(span: re.Match[str]) -> timedelta:
    return timedelta(**{_UNITS[span[2]]: int(span[1])})


def _with_zone(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
