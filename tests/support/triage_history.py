"""A month of a department: studies that arrived by day and night, were analysed and prioritised, drawn by a seed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from storage import analyses, arrays, jobs, registering
from storage.arrivals import Origin, StudyFacts
from storage.closing import SeenStudy
from storage.database import Database
from storage.domain import Algorithm, Analysis, Code, Finding, FrameRef, Lane, Presence, StageTiming, StoredInstance
from storage.models import StudyRow
from storage.objects import ObjectStore
from storage.routes.file import load_routes
from storage.triage.policy import Case, Policy, load_policy
from tests.support.records import EXPLICIT, MR_IMAGE, series_facts
from tests.support.routing import close_quiet

BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
_LESION = Code("52988006", "SCT", "Lesion")
_BY_HOUR = (1, 1, 1, 1, 1, 1, 2, 5, 9, 10, 10, 9, 7, 8, 9, 8, 6, 4, 3, 3, 2, 2, 1, 1)
"""How many studies come in each hour of a day, against one another."""
_BATCH_STUDIES = 100


@dataclass(frozen=True, slots=True)
class DrawnStudy:
    """One study to be recorded: when its last image came, and what will be found."""

    number: int
    arrived_at: datetime
    analysed_at: datetime
    lane: Lane
    findings: tuple[Finding, ...]
    out_of_distribution: float
    withheld: str | None = None

    @property
    def confidence(self) -> float:
        return max((one.confidence for one in self.findings if one.presence is Presence.PRESENT), default=0.1)

    def case(self) -> Case:
        return Case(self.findings, self.confidence, self.out_of_distribution, self.lane)


def drawn_studies(count: int, *, days: int = 30, seed: int = 21) -> tuple[DrawnStudy, ...]:
    """Return studies in the order of their arrival; the same for the same numbers."""
    chance = random.Random(seed)
    moments = sorted(_moment(chance, days) for _ in range(count))
    return tuple(_study(chance, number, moment) for number, moment in enumerate(moments, start=1))


def record_history(
    database: Database, objects: ObjectStore, studies: tuple[DrawnStudy, ...], *, policy: Policy | None = None
) -> None:
    """Record studies as gateway and worker would, through the same functions, decided by a policy."""
    live, frames = policy or load_policy(), (FrameRef("2.25.1.1.1", MR_IMAGE, None, "c" * 64),)
    grid = arrays.save_grid(objects, frames, None)
    for first in range(0, len(studies), _BATCH_STUDIES):
        with database.write() as session:
            for study in studies[first : first + _BATCH_STUDIES]:
                job_id = _arrive(session, study)
                held = jobs.claim(session, job_id, owner="worker-1", lease_seconds=600, now=study.analysed_at)
                assert held is not None
                analysis = _analysis(study, frames, live)
                analyses.save(session, held, analysis, grid_digest=grid, now=study.analysed_at)


def _arrive(session: Session, study: DrawnStudy) -> int:
    uid, content = f"2.25.{70_000 + study.number}", f"{study.number:064x}"
    instance = StoredInstance(uid, f"{uid}.1", f"{uid}.1.1", MR_IMAGE, EXPLICIT, "MR", content, content, 1000)
    facts = StudyFacts(f"P{study.number}", f"A{study.number}", f"{study.arrived_at:%Y%m%d}", "Head")
    origin = Origin("MODALITY", None, study.lane)
    registering.register_instance(session, instance, facts, origin=origin, now=study.arrived_at)
    study_id = session.scalars(select(StudyRow.id).where(StudyRow.study_instance_uid == uid)).one()
    seen = SeenStudy(load_routes(), (series_facts(uid),))
    later = study.arrived_at + timedelta(seconds=30)
    opened = close_quiet(session, study_id, seen, quiet_seconds=1, now=later)
    assert opened
    return opened[0]


def _analysis(study: DrawnStudy, frames: tuple[FrameRef, ...], policy: Policy) -> Analysis:
    return Analysis(
        series_instance_uid="2.25.1.1",
        input_sha256="d" * 64,
        algorithm=Algorithm("diffusion", "1.0", "a" * 64, "{}"),
        classifier=None,
        case_score=study.confidence,
        out_of_distribution=study.out_of_distribution,
        findings=study.findings,
        label_map=None,
        frames=frames,
        decision=policy.decide(study.case()),
        timings=(StageTiming("segment", 2.0),),
        withheld=study.withheld,
    )


def _moment(chance: random.Random, days: int) -> datetime:
    hour = chance.choices(range(24), _BY_HOUR)[0]
    return BEGIN + timedelta(days=chance.randrange(days), hours=hour, seconds=chance.randrange(3600))


def _study(chance: random.Random, number: int, arrived_at: datetime) -> DrawnStudy:
    drawn = DrawnStudy(
        number=number,
        arrived_at=arrived_at,
        analysed_at=arrived_at + timedelta(seconds=60 + chance.randrange(240)),
        lane=Lane.BATCH if chance.random() < 0.25 else Lane.ROUTINE,
        findings=tuple(_findings(chance)),
        out_of_distribution=round(abs(chance.gauss(0, 1)), 3),
    )
    return replace(drawn, withheld="unlike_training_data") if chance.random() < 0.02 else drawn


def _findings(chance: random.Random) -> Iterator[Finding]:
    if chance.random() < 0.7:
        confidence = round(chance.uniform(0.6, 0.99), 3)
        yield Finding(0, Presence.ABSENT, _LESION, confidence, 0.0, 0.0, "No lesion", "2.25.5")
        return
    for number in range(1, chance.choice([1, 1, 1, 2, 3]) + 1):
        confidence, volume = round(chance.betavariate(3, 2), 3), round(chance.lognormvariate(1.5, 1.2), 3)
        diameter = round(10 * (6 * volume / 3.14159) ** (1 / 3), 1)
        lesion = f"Lesion {number}"
        yield Finding(number, Presence.PRESENT, _LESION, confidence, volume, diameter, lesion, f"2.25.6{number}")
