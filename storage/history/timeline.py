"""Everything that happened to one study, told for a person: sentences by day, with how long the steps took."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from sqlalchemy.orm import Session

from storage.audit import AuditEvent
from storage.history import questions
from storage.history.question import Order, Question
from storage.history.sentences import told

MOST = 20_000
_DAY_LENGTH = len("2026-11-28")
_TOGETHER = frozenset({"instance:stored"})
"""Kinds of which many follow one another and say the same."""

_BEGINNINGS: Mapping[str, tuple[str, str]] = {
    "study:closed": ("study:opened", "after it began"),
    "study:analysed": ("job:claimed", "of work"),
    "job:claimed": ("job:published", "in the queue"),
    "job:failed": ("job:claimed", "of work"),
    "delivery:sent": ("delivery:opened", "after it was due"),
}
"""Steps that end something, what began it, and what the time between is."""


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happened, or many alike: ``seq`` and ``at`` are the first's, ``until`` is the last's time.

    ``seconds`` is how long what it ended took, ``took`` says that in words; None and empty where it ended nothing.
    """

    seq: int
    at: str
    until: str
    tag: str
    actor: str
    outcome: str
    sentence: str
    events: int
    seconds: float | None
    took: str


@dataclass(frozen=True, slots=True)
class Day:
    """The steps of one day (UTC), in order."""

    day: str
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Timeline:
    """The days of one study; where ``is_complete`` is False only its first ``MOST`` events are told."""

    study: str
    days: tuple[Day, ...]
    is_complete: bool


def timeline(session: Session, study: str) -> Timeline:
    """Return what happened to the study with this UID, the first day first; no days where nothing is on record."""
    page = questions.page(session, Question(study=study), Order.OLDEST, limit=MOST)
    days = groupby(_steps(page.events), key=lambda step: step.at[:_DAY_LENGTH])
    return Timeline(study, tuple(Day(day, tuple(steps)) for day, steps in days), page.cursor is None)


def spoken(seconds: float) -> str:
    """Return a duration as people say it, to the two largest units."""
    if seconds < 1:
        return f"{seconds:.1f} s"
    left, said = round(seconds), []
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        number, left = divmod(left, length)
        if number:
            said.append(f"{number} {unit}")
    return " ".join(said[:2])


def _steps(events: Sequence[AuditEvent]) -> Iterator[Step]:
    begun: dict[str, str] = {}
    for alike in _runs(events):
        first, last = alike[0], alike[-1]
        began, what = _BEGINNINGS.get(first.tag, ("", ""))
        seconds = _between(begun[began], first.at) if began in begun else None
        begun[first.tag] = first.at
        yield Step(
            seq=first.seq,
            at=first.at,
            until=last.at,
            tag=first.tag,
            actor=first.actor,
            outcome=first.outcome,
            sentence=told(first, count=len(alike)),
            events=len(alike),
            seconds=seconds,
            took="" if seconds is None else f"{spoken(seconds)} {what}",
        )


def _runs(events: Iterable[AuditEvent]) -> Iterator[list[AuditEvent]]:
    """Return the events, those together that follow one another on one day and say the same."""
    run: list[AuditEvent] = []
    for event in events:
        if run and not (event.tag in _TOGETHER and _said(event) == _said(run[-1])):
            yield run
            run = []
        run.append(event)
    if run:
        yield run


def _said(event: AuditEvent) -> tuple[str, str, str]:
    return event.tag, event.actor, event.at[:_DAY_LENGTH]


def _between(one: str, other: str) -> float:
    return max(0.0, (datetime.fromisoformat(other) - datetime.fromisoformat(one)).total_seconds())
