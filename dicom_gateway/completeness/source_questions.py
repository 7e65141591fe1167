"""Ask the sources of studies that grow quiet how many images they hold, beside the loop that closes studies."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta

from dicom_gateway.completeness.judgement import is_answered
from dicom_gateway.completeness.quiet_time import QuietTime
from dicom_gateway.completeness.rules import EARLY, Rules
from dicom_gateway.completeness.sources import Sources
from storage import closing, study_arrivals
from storage.closing import ArrivingStudy
from storage.database import Database

_AT_ONCE = 4
_ASK_AGAIN = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class _Question:
    study: ArrivingStudy
    addresses: tuple[str, ...]
    own: frozenset[str]


class SourceQuestions:
    """Asks about each study once after its last image, and every minute while images are missing."""

    def __init__(
        self,
        database: Database,
        rules: Rules,
        sources: Sources,
        clock: Callable[[], datetime],
        *,
        on_answer: Callable[[], None],
    ) -> None:
        """``on_answer`` is called after answers were written."""
        self._database = database
        self._rules = rules
        self._sources = sources
        self._clock = clock
        self._on_answer = on_answer
        self._quiet = QuietTime(rules)

    def ask_due(self) -> float | None:
        """Ask what is due, some sources at a time; return in how many seconds the next question may be due."""
        now = self._clock()
        questions, times = self._due(now)
        if questions:
            with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="source") as threads:
                list(threads.map(self._ask, questions))
            self._on_answer()
        return min(times, default=None)

    def _due(self, now: datetime) -> tuple[list[_Question], list[float]]:
        questions, times = [], []
        with self._database.read() as session:
            for study in closing.arriving(session, now=now):
                too_soon = (_due_at(study, self._rules.shortest_quiet_seconds) - now).total_seconds()
                if too_soon > 0:
                    times.append(too_soon)
                    continue
                addresses = self._sources.addresses(session, study.id)
                if not addresses or study.arrival.released_at is not None:
                    continue
                quiet = self._quiet.seconds(session, study, now=now)
                wait = (_due_at(study, quiet) - now).total_seconds()
                if wait > 0:
                    times.append(wait)
                else:
                    questions.append(_Question(study, addresses, closing.own_series(session, study.id)))
        return questions, times

    def _ask(self, question: _Question) -> None:
        study = question.study
        with self._database.write() as session:
            asked_before = study.arrival.asked_at
            if not study_arrivals.ask(session, study.id, asked_before=asked_before, now=self._clock()):
                return
        answer = self._sources.answer(question.addresses, study.study_instance_uid, own=question.own)
        with self._database.write() as session:
            study_arrivals.answered(session, study.id, answer, now=self._clock())


def _due_at(study: ArrivingStudy, quiet_seconds: float) -> datetime:
    """Return when the source of a study is to be asked next."""
    asked_at = study.arrival.asked_at
    grown_quiet = study.last_instance_at + timedelta(seconds=quiet_seconds * EARLY)
    if asked_at is None:
        return grown_quiet
    if asked_at >= study.last_instance_at:
        return asked_at + _ASK_AGAIN
    # A question that is under way is not asked twice.
    return grown_quiet if is_answered(study.arrival, asked_at) else max(grown_quiet, asked_at + _ASK_AGAIN)
