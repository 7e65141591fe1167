"""Look at the studies that arrive, and close those that are complete: then the routes are asked, and jobs opened.

Everything that this rests on stands in the database, so a restart forgets nothing and any gateway can close any study.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from sqlalchemy.orm import Session

from dicom_gateway.completeness.judgement import Judgement, Step, View, judge
from dicom_gateway.completeness.quiet_time import QuietTime
from dicom_gateway.completeness.required_series import waiting_routes
from dicom_gateway.completeness.rules import Rules
from dicom_gateway.completeness.sources import Sources
from dicom_gateway.series_facts import stored_series
from storage import closing, journals, receipts, series, studies, study_arrivals
from storage.audit import Detail
from storage.closing import ArrivingStudy, Decision, Reason, SeenStudy
from storage.database import Database
from storage.objects import ObjectStore
from storage.routes.file import Routes
from storage.routes.in_force import RoutesInForce
from storage.states import StudyState
from storage.study_arrivals import HeldBack, Waiting

_CLOCKS_DIFFER = timedelta(seconds=5)
"""Gateways on other machines may be ahead by so much; an image from farther ahead tells of a clock that went back."""

_TOLD = frozenset({Waiting.EXPECTED, Waiting.SERIES})
"""What a study waits for in such a way that somebody may want to know."""

_HELD = {Step.HOLD: StudyState.HELD, Step.SET_ASIDE: StudyState.SET_ASIDE}

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Stored:
    """Where studies are kept, and by which routes they go."""

    database: Database
    objects: ObjectStore
    routes: RoutesInForce


class Assembly:
    """Closes complete studies, each in a transaction that opens its jobs too."""

    def __init__(self, stored: Stored, rules: Rules, sources: Sources, clock: Callable[[], datetime]) -> None:
        self._stored = stored
        self._rules = rules
        self._sources = sources
        self._clock = clock
        self._quiet = QuietTime(rules)
        self._seen: dict[int, tuple[datetime, SeenStudy]] = {}
        self._judged: dict[int, tuple[ArrivingStudy, Routes, datetime]] = {}

    def close_complete(self) -> float | None:
        """Close every study that is complete now; return in how many seconds the next may be, None where none will.

        Another gateway, or a late image, may come first. A study that an open association holds back does not count
        for the time: the end of that association is what it waits for.
        """
        now = self._clock()
        with self._stored.database.read() as session:
            open_now = closing.arriving(session, now=now)
        self._forget_but({study.id for study in open_now})
        times = [self._look_at(study, now) for study in open_now]
        return min((seconds for seconds in times if seconds is not None), default=None)

    def _look_at(self, study: ArrivingStudy, now: datetime) -> float | None:
        if study.last_instance_at > now + _CLOCKS_DIFFER:
            self._start_again(study, now)
            return 0.0
        earliest = max(self._rules.earliest_look(study), self._judged_until(study))
        if now < earliest:
            return (earliest - now).total_seconds()
        view = self._view(study, now)
        judged = judge(view, self._rules, now=now)
        if judged.step is Step.CLOSE:
            self._close(view, judged)
        elif judged.step is not Step.WAIT:
            self._hold(view, judged)
        elif judged.waits_for in _TOLD and judged.waits_for is not study.arrival.waits_for:
            self._wait(view, judged.waits_for)
        if judged.look_again is None:
            return None
        self._judged[study.id] = (study, self._stored.routes.current(), judged.look_again)
        return max((judged.look_again - now).total_seconds(), 0.0)

    def _judged_until(self, study: ArrivingStudy) -> datetime:
        """Return until when the last judgement of a study stands: nothing has changed since that it rests on."""
        known = self._judged.get(study.id)
        if known is None or known[0] != study or known[1] is not self._stored.routes.current():
            return study.last_instance_at
        return known[2]

    def _view(self, study: ArrivingStudy, now: datetime) -> View:
        with self._stored.database.read() as session:
            return View(
                study=study,
                quiet_seconds=self._quiet.seconds(session, study, now=now),
                images=_images(session, study),
                has_source=bool(self._sources.addresses(session, study.id)),
                lacking=lambda: waiting_routes(self._see(study)),
            )

    def _close(self, view: View, judged: Judgement) -> None:
        study = view.study
        # An image of it that its sender was told is safe must be in the revision that closes, whoever received it.
        if receipts.study_key(study.study_instance_uid) in journals.unregistered_studies(self._stored.objects):
            return
        # Headers are read before the transaction: while it holds the study no image of it can be written.
        seen = self._see(study)
        decision = Decision(judged.closes_for or Reason.QUIET, study.last_instance_at, _details(view, judged))
        with self._stored.database.write() as session:
            opened = closing.close(session, study.id, seen, decision=decision, now=self._clock())
        if opened is not None:
            self._quiet.forget()
            logger.info("study.closed", study=study.id, jobs=list(opened), reason=decision.reason.value)

    def _hold(self, view: View, judged: Judgement) -> None:
        if view.study.arrival.hold is not None:
            return
        state, reason = _HELD[judged.step], judged.waits_for or Waiting.IMAGES
        held = HeldBack(state, reason, view.study.last_instance_at, self._told(view, judged))
        with self._stored.database.write() as session:
            is_held = study_arrivals.hold_back(session, view.study.id, held, now=self._clock())
        if is_held:
            logger.warning("study.held", study=view.study.id, code=reason.value, state=state.value)

    def _wait(self, view: View, reason: Waiting) -> None:
        details = self._told(view, Judgement(Step.WAIT, waits_for=reason))
        with self._stored.database.write() as session:
            study_arrivals.wait(session, view.study.id, reason, details=details, now=self._clock())

    def _told(self, view: View, judged: Judgement) -> dict[str, Detail]:
        expected = view.study.arrival.expected
        return {**_details(view, judged), "images": view.images, "expected": expected}

    def _start_again(self, study: ArrivingStudy, now: datetime) -> None:
        with self._stored.database.write() as session:
            study_arrivals.clock_went_back(session, study.id, now=now)
        logger.warning("study.clock_went_back", study=study.id, code="clock_went_back")

    def _see(self, study: ArrivingStudy) -> SeenStudy:
        """Read one header of each series of a study, and return what it says with the routes that hold now."""
        routes = self._stored.routes.current()
        known = self._seen.get(study.id)
        if known is not None and known[0] == study.last_instance_at and known[1].routes is routes:
            return known[1]
        with self._stored.database.read() as session:
            instances = studies.instances_of(session, study.id)
            senders = studies.senders_of(session, study.id)
            deleted = series.of_deleted(session, study.id)
        seen = SeenStudy(routes, stored_series(instances, self._stored.objects, senders, known=deleted))
        self._seen[study.id] = (study.last_instance_at, seen)
        return seen

    def _forget_but(self, open_now: set[int]) -> None:
        for known in (self._seen, self._judged):
            for study_id in known.keys() - open_now:
                del known[study_id]


def _images(session: Session, study: ArrivingStudy) -> int:
    """Return how many images are there, where there is a number to compare them with."""
    return closing.images_of(session, study.id) if study.arrival.expected is not None else 0


def _details(view: View, judged: Judgement) -> dict[str, Detail]:
    """Return what an event says of why a study is closed, waited for or held."""
    lacking = ", ".join(view.lacking()) if judged.waits_for is Waiting.SERIES else ""
    return {
        "quiet_seconds": round(view.quiet_seconds, 3),
        "missing": judged.waits_for.value if judged.waits_for and judged.step is Step.CLOSE else None,
        "routes_waiting": lacking or None,
    }
