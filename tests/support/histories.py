"""Random histories of studies, through the functions that gateway, relay, worker and people call."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from storage import analyses, job_lists, jobs, reading, registering, studies
from storage.arrivals import Origin, StudyFacts
from storage.closing import SeenStudy
from storage.database import Database
from storage.domain import Analysis, Presence, Priority, StoredInstance
from storage.errors import IllegalTransition, LeaseLost, RecordMissing
from storage.jobs import Claim
from storage.objects import ObjectStore
from storage.routes.file import load_routes
from storage.states import JobState
from tests.support.records import EXPLICIT, MR_IMAGE, NOW, TWO_HEAD_ROUTES, result, series_facts
from tests.support.routing import close_quiet, quiet_studies

_REPORT = "1.2.840.10008.5.1.4.1.1.88.33"
_STUDIES = 4


@dataclass(slots=True)
class History:
    """Studies to which one thing after another happens; ``step`` does the next one."""

    database: Database
    objects: ObjectStore
    chance: random.Random
    now: datetime = NOW
    held: list[Claim] = field(default_factory=list)

    def step(self) -> None:
        self.now += timedelta(seconds=self.chance.randint(1, 30))
        actions: list[Callable[[], None]] = [
            *[self._arrive] * 3, *[self._close] * 4, *[self._claim] * 4, *[self._finish] * 4, *[self._mark] * 2,
            self._fail, self._postpone, self._hand_back, self._retry, self._reroute, self._reclaim, self._release,
            self._unmark,
        ]  # fmt: skip # reads by its lines
        self.chance.choice(actions)()

    def _arrive(self) -> None:
        number, chance = self.chance.randint(1, _STUDIES), self.chance
        content = hashlib.sha256(str(chance.random()).encode()).hexdigest()
        uid = f"2.25.{1000 + number}"
        kind, modality = chance.choice([(MR_IMAGE, "MR"), (MR_IMAGE, "MR"), (_REPORT, "SR")])
        sop = f"{uid}.1.{chance.randint(1, 4)}{0 if modality == 'MR' else 9}"
        instance = StoredInstance(uid, f"{uid}.1", sop, kind, EXPLICIT, modality, content, content, 10)
        facts = StudyFacts(f"P{number}" if chance.random() < 0.9 else "OTHER", f"A{number}")
        with self.database.write() as session:
            registering.register_instance(session, instance, facts, origin=Origin("MR", None), now=self.now)

    def _close(self) -> None:
        routes = self.chance.choice([TWO_HEAD_ROUTES, TWO_HEAD_ROUTES, load_routes()])
        part = self.chance.choice(["HEAD", "HEAD", "HEAD", "KNEE"])
        with self.database.write() as session:
            for study_id in quiet_studies(session, quiet_seconds=0, now=self.now):
                (first, *_) = studies.instances_of(session, study_id)
                seen = SeenStudy(routes, (series_facts(first.study_instance_uid, body_part=part),))
                close_quiet(session, study_id, seen, quiet_seconds=0, now=self.now)

    def _claim(self) -> None:
        with self.database.write() as session:
            queued = job_lists.listed(session, state=JobState.QUEUED)
            if queued:
                job = self.chance.choice(queued)
                held = jobs.claim(session, job.id, owner=self._owner(), lease_seconds=60, now=self.now)
                self.held += [held] if held else []

    def _finish(self) -> None:
        self._with_held(
            lambda session, held: analyses.save(session, held, self._result(), grid_digest="g", now=self.now)
        )

    def _fail(self) -> None:
        retryable = self.chance.random() < 0.5
        self._with_held(
            lambda session, held: jobs.fail(session, held, code="c", reason="r", retryable=retryable, now=self.now)
        )

    def _postpone(self) -> None:
        self._with_held(lambda session, held: jobs.postpone(session, held, code="c", reason="r", now=self.now))

    def _hand_back(self) -> None:
        self._with_held(lambda session, held: jobs.hand_back(session, held, reason="r", now=self.now))

    def _retry(self) -> None:
        with suppress(IllegalTransition), self.database.write() as session:
            ended = [
                *job_lists.listed(session, state=JobState.FAILED),
                *job_lists.listed(session, state=JobState.SUCCEEDED),
            ]
            if ended:
                jobs.retry(session, self.chance.choice(ended).id, actor="cli:me", now=self.now)

    def _reroute(self) -> None:
        self._to_a_study(lambda session, study_id: studies.reroute(session, study_id, actor="cli:me", now=self.now))

    def _reclaim(self) -> None:
        self.now += timedelta(seconds=45)
        with self.database.write() as session:
            jobs.reclaim_expired(session, now=self.now)

    def _release(self) -> None:
        with self.database.write() as session:
            jobs.release_owner(session, self._owner(), now=self.now)

    def _mark(self) -> None:
        self._to_a_study(lambda session, study_id: reading.mark_read(session, study_id, actor="cli:me", now=self.now))

    def _unmark(self) -> None:
        self._to_a_study(lambda session, study_id: reading.mark_unread(session, study_id, actor="cli:me", now=self.now))

    def _with_held(self, action: Callable[[Session, Claim], object]) -> None:
        if not self.held:
            return
        held = self.held.pop(self.chance.randrange(len(self.held)))
        with suppress(LeaseLost), self.database.write() as session:
            action(session, held)

    def _to_a_study(self, action: Callable[[Session, int], object]) -> None:
        with suppress(IllegalTransition, RecordMissing), self.database.write() as session:
            action(session, self.chance.randint(1, _STUDIES))

    def _owner(self) -> str:
        return self.chance.choice(["worker-1", "worker-2"])

    def _result(self) -> Analysis:
        chance = self.chance
        found = result(self.objects, priority=chance.choice(list(Priority)))
        (finding,) = found.findings
        kinds = [
            (),
            (replace(finding, confidence=chance.choice([0.25, 0.5, 0.875])),),
            (replace(finding, confidence=0.5), replace(finding, number=2, confidence=0.75)),
            (replace(finding, number=0, presence=Presence.ABSENT, confidence=0.875),),
            (replace(finding, number=0, presence=Presence.ASSESSED, label=chance.choice([None, "none", "benign"])),),
        ]
        withheld = chance.choice([None, None, None, "unlike_training_data"])
        return replace(found, findings=chance.choice(kinds), withheld=withheld)
