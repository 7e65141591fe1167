"""For how long a receiver asks to be left alone: the header Retry-After (RFC 9110 10.2.3)."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from dicom_gateway.http_exchange import HttpAnswer

_LONGEST_SECONDS = 3600.0
_MOST_DIGITS = 9


def retry_after(answer: HttpAnswer, *, now: datetime) -> float | None:
    """Return how many seconds an answer asks for, an hour at most; None where it says nothing that can be read."""
    text = answer.headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:_MOST_DIGITS]), _LONGEST_SECONDS)
    try:
        until = parsedate_to_datetime(text)
    except (ValueError, OverflowError):  # the latter for a year of many digits
        return None
    if until.tzinfo is None:
        until = until.replace(tzinfo=UTC)
    return min(max((until - now).total_seconds(), 0.0), _LONGEST_SECONDS)
