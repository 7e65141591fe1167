"""Studies with real files in the object store that rules of retention may be tried on."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import select

from storage import job_lists
from storage.arrivals import Arrival, Origin, StudyFacts
from storage.closing import SeenStudy
from storage.database import Database
from storage.domain import Priority, StoredInstance
from storage.models import StudyRow
from storage.objects import ObjectStore
from storage.registering import Registration, register_instances
from storage.result_tables import ResultObjectRow
from storage.retention.rounds import Retention, Round
from storage.retention.rules import RetentionRule, RetentionSettings
from storage.routes.file import Routes, load_routes, parse_routes
from tests.support import records
from tests.support.records import EXPLICIT, MR_IMAGE, series_facts
from tests.support.routing import close_quiet

ARRIVED = records.NOW
MONTH_LATER = ARRIVED + timedelta(days=31)
NO_ROUTE = parse_routes(b"version = 1\n", name="routes.toml")
EVERYTHING = {"name": "all", "delete": ["images", "results", "pictures"], "older_than_days": 30}


@dataclass(frozen=True, slots=True)
class Kept:
    """A place with a database and an object store, and the rules that are tried there."""

    database: Database
    objects: ObjectStore

    def study(self, number: int = 1, *, images: int = 2, routes: Routes | None = None, now: datetime = ARRIVED) -> int:
        """Record a complete study whose images lie in the object store; return our number for it."""
        arrived = [self.image(number, index) for index in range(images)]
        self.receive(*arrived, now=now)
        return self.close(number, routes=routes, now=now)

    def analysed(self, number: int = 1, *, images: int = 2, priority: Priority = Priority.HIGH) -> int:
        """Record a study with a result whose objects were written and wait to be sent; return its job."""
        self.study(number, images=images)
        with self.database.read() as session:
            job_id = max(job.id for job in job_lists.listed(session))
        analysis = records.result(self.objects, number, priority=priority)
        pictured = replace(analysis, explanation=records.explanation(self.objects, self.put(f"panel {number}")))
        records.save_result(self.database, self.objects, job_id, pictured, number=number)
        self.write_objects(job_id)
        return job_id

    def sent(self, number: int = 1, *, images: int = 2, priority: Priority = Priority.HIGH) -> int:
        """Record a study whose result was sent; return its job."""
        job_id = self.analysed(number, images=images, priority=priority)
        records.deliver(self.database, now=ARRIVED)
        return job_id

    def image(self, number: int, index: int = 0) -> StoredInstance:
        """Store the file of an image, and return what its row says."""
        uid = f"2.25.{1000 + number}"
        digest = self.put(f"{uid} image {index} " * 50)
        size = self.objects.path(digest).stat().st_size
        sop = f"{uid}.1.{index + 1}"
        return StoredInstance(uid, f"{uid}.1", sop, MR_IMAGE, EXPLICIT, "MR", digest, digest, size)

    def receive(self, *images: StoredInstance, now: datetime) -> tuple[Registration, ...]:
        """Register images as the gateway does."""
        origin, facts = Origin("MODALITY", None), StudyFacts(records.PATIENT, "ACC", "20260301", "Head")
        arrivals = [Arrival(image, facts, origin, now) for image in images]
        with self.database.write() as session:
            return register_instances(session, arrivals, now=now)

    def close(self, number: int, *, routes: Routes | None = None, now: datetime) -> int:
        """Close a study, its series seen as a head MR; return our number for it."""
        uid = f"2.25.{1000 + number}"
        seen = SeenStudy(routes or load_routes(), (series_facts(uid),))
        with self.database.write() as session:
            study_id = session.scalars(select(StudyRow.id).where(StudyRow.study_instance_uid == uid)).one()
            assert close_quiet(session, study_id, seen, quiet_seconds=1, now=now + timedelta(minutes=1)) is not None
        return study_id

    def close_if_open(self, number: int, *, routes: Routes | None = None, now: datetime) -> None:
        """Close a study unless it is closed."""
        with self.database.read() as session:
            closed_at = session.scalar(
                select(StudyRow.closed_at).where(StudyRow.study_instance_uid == f"2.25.{1000 + number}")
            )
        if closed_at is None:
            self.close(number, routes=routes, now=now)

    def put(self, text: str) -> str:
        """Store a file that was last stored long ago."""
        digest = self.objects.put(text.encode())
        self.age(digest)
        return digest

    def age(self, *digests: str) -> None:
        """Have files count as stored at the time at which the study arrived."""
        for digest in digests:
            os.utime(self.objects.path(digest), (ARRIVED.timestamp(), ARRIVED.timestamp()))

    def age_all(self) -> None:
        """Have every file count as stored long ago."""
        self.age(*self.files())

    def files(self) -> set[str]:
        """Return the digests of all files in the object store."""
        return {path.name for path in self.objects.root.glob("??/*")}

    def write_objects(self, job_id: int) -> None:
        """Put files under the digests of the objects that were recorded as written."""
        with self.database.write() as session:
            rows = session.scalars(select(ResultObjectRow).where(ResultObjectRow.job_id == job_id))
            for row in rows:
                row.digest = self.put(f"object {row.sop_instance_uid}")
                row.size_bytes = self.objects.size(row.digest)

    def run(self, *rules: dict[str, object], now: datetime = MONTH_LATER, most_files: int = 1000) -> Round:
        """Do one round by rules."""
        self.age_all()
        return self.retention(*rules, now=now).run(most_files=most_files)

    def retention(self, *rules: dict[str, object], now: datetime = MONTH_LATER, owner: str = "gateway-1") -> Retention:
        """Return what deletes by rules, ``EVERYTHING`` by default."""
        return Retention(
            self.database, self.objects, rules_of(*rules), owner=owner, actor="retention", clock=lambda: now
        )


def rules_of(*rules: dict[str, object]) -> tuple[RetentionRule, ...]:
    """Return rules as the settings hold them, ``EVERYTHING`` by default."""
    return RetentionSettings.model_validate({"rules": rules or (EVERYTHING,)}).rules
