"""What rows have in common that are tried again until they are written, or given up."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Protocol

MAX_ATTEMPTS = 5
_BACKOFF_SECONDS = 10


class Attempted(Protocol):
    """A row that was tried, and why that failed last."""

    attempts: int
    next_attempt_at: datetime
    code: str | None
    reason: str | None


def postpone(row: Attempted, *, code: str, reason: str, retryable: bool, now: datetime) -> bool:
    """Count a failed attempt; return whether another follows, each after twice the pause of the one before."""
    row.attempts += 1
    row.code, row.reason = code, reason
    if not retryable or row.attempts >= MAX_ATTEMPTS:
        return False
    row.next_attempt_at = now + timedelta(seconds=_BACKOFF_SECONDS * 2 ** (row.attempts - 1))
    return True
