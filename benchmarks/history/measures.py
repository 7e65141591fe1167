"""How long a question takes: percentiles over many of its kind, each in a transaction of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from sqlalchemy.orm import Session

from storage.database import Database

WANTED_MS = 50.0
WANTED_RATIO = 1.5
REPEATS = 60

Ask = Callable[[Session], object]


@dataclass(frozen=True, slots=True)
class Question:
    """One kind of question; each of ``asked`` is one of that kind with random values."""

    name: str
    asked: tuple[Ask, ...]


@dataclass(frozen=True, slots=True)
class Figure:
    """Milliseconds of one kind of question, from the beginning of its transaction to its last row."""

    name: str
    p50_ms: float
    p95_ms: float


def measure(database: Database, questions: Iterable[Question]) -> list[Figure]:
    """Ask every question and return the figures; the first of each kind is asked twice, and counts once."""
    return [_figure(database, question) for question in questions]


def timed(work: Callable[[], object]) -> float:
    """Return how many seconds something takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def percentile(values: Iterable[float], part: float) -> float:
    """Return the smallest value that at least this part of all reach or stay below."""
    ordered = sorted(values)
    return ordered[max(0, -int(-part * len(ordered) // 1) - 1)]


def _figure(database: Database, question: Question) -> Figure:
    _ask(database, question.asked[0])
    times = [1000 * timed(lambda asked=asked: _ask(database, asked)) for asked in question.asked]  # type: ignore[misc] # its types cannot be told from a default
    return Figure(question.name, round(percentile(times, 0.5), 2), round(percentile(times, 0.95), 2))


def _ask(database: Database, asked: Ask) -> None:
    with database.read() as session:
        asked(session)
