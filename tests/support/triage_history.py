"""A month of a department: studies that arrived by day and night, were analysed and prioritised, drawn by a seed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from storage import analyses, arrays, closing, jobs, registering
from storage.arrivals import Origin, StudyFacts
from storage.closing import Decision, Reason, SeenStudy
from storage.database import Database
from storage.domain import Algorithm, Analysis, Code, Finding, Lane, Presence, Priority, StageTiming, StoredInstance
from storage.models import JobRow, StandingRow, StudyRow
from storage.objects import ObjectStore
from storage.result_tables import AnalysisRow
from storage.routes.file import load_routes
from storage.triage.case import Case, Circumstances
from storage.triage.policy import Policy
from storage.triage.policy_file import load_policy
from storage.triage.tables import PolicyState, ShadowDecisionRow, TriagePolicyRow
from storage.volumes import FrameRef
from tests.support.records import EXPLICIT, MR_IMAGE, series_facts

BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
_LESION = Code("52988006", "SCT", "Lesion")
_BY_HOUR = (1, 1, 1, 1, 1, 1, 2, 5, 9, 10, 10, 9, 7, 8, 9, 8, 6, 4, 3, 3, 2, 2, 1, 1)
"""How many studies come in each hour of a day, against one another."""
_QUIET = timedelta(seconds=30)
_FIRST_COPY = 10_000
_AT_ONCE = 5_000


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
        around = Circumstances(self.lane, "head-mr", decided_at=self.analysed_at)
        distance = self.out_of_distribution
        return Case.of(self.findings, around, case_score=self.confidence, out_of_distribution=distance)


def drawn_studies(count: int, *, days: int = 30, seed: int = 21) -> tuple[DrawnStudy, ...]:
    """Return studies in the order of their arrival; the same for the same numbers."""
    chance = random.Random(seed)  # noqa: S311 - the same history each time
    moments = sorted(_moment(chance, days) for _ in range(count))
    return tuple(_study(chance, number, moment) for number, moment in enumerate(moments, start=1))


def record_history(
    database: Database, objects: ObjectStore, studies: tuple[DrawnStudy, ...], *, policy: Policy | None = None
) -> None:
    """Record studies, decided by a policy: the first as gateway and worker would, the others as copies of its rows.

    Through the functions a thousand studies take half a minute; what a replay reads is in four tables.
    """
    live, frames = policy or load_policy(), (FrameRef("2.25.1.1.1", MR_IMAGE, None, "c" * 64),)
    first = studies[0]
    with database.write() as session:
        job_id = _arrive(session, first)
        held = jobs.claim(session, job_id, owner="worker-1", lease_seconds=600, now=first.analysed_at)
        assert held is not None
        analysis = _analysis(first, frames, live)
        grid = arrays.save_grid(objects, frames, None)
        analyses.save(session, held, analysis, grid_digest=grid, now=first.analysed_at)
    with database.write() as session:
        for start in range(1, len(studies), _AT_ONCE):
            _copy(session, held.study_id, job_id, studies[start : start + _AT_ONCE], live)


def put_on_trial(database: Database, policy: Policy, content: bytes, *, name: str) -> None:
    """Record a policy on trial, and what it says of every analysis on record."""
    with database.write() as session:
        session.add(
            TriagePolicyRow(
                sha256=policy.sha256,
                name=name,
                content=content.decode(),
                state=PolicyState.SHADOW.value,
                reason="fewer alarms",
                changed_by="cli:me",
                added_at=BEGIN,
                changed_at=BEGIN,
            )
        )
        rows = session.execute(select(AnalysisRow.job_id, AnalysisRow.policy_inputs)).all()
        said = [(job_id, policy.decide(Case.of_inputs(inputs))) for job_id, inputs in rows]
        session.add_all(
            ShadowDecisionRow(
                job_id=job_id,
                policy_sha256=policy.sha256,
                priority=decision.priority.value,
                rule=decision.rule,
                decided_at=BEGIN,
            )
            for job_id, decision in said
        )


def _copy(session: Session, study_id: int, job_id: int, studies: tuple[DrawnStudy, ...], policy: Policy) -> None:
    """Write the rows of studies as those of one that is on record, but for what was drawn of them."""
    keys = (
        (StudyRow.id, study_id),
        (StandingRow.study_id, study_id),
        (JobRow.id, job_id),
        (AnalysisRow.job_id, job_id),
    )
    whole = [
        dict(session.execute(select(column.class_.__table__).where(column == value)).mappings().one())
        for column, value in keys
    ]
    drawn = [_drawn(study, policy) for study in studies]
    for number, (column, _) in enumerate(keys):
        rows = [{**whole[number], **columns[number]} for columns in drawn]
        session.execute(insert(column.class_.__table__), rows)


def _drawn(study: DrawnStudy, policy: Policy) -> tuple[dict[str, object], ...]:
    """Return what a study has of its own: in its row, its standing, its job, its analysis."""
    own, uid = _FIRST_COPY + study.number, _uid(study)
    closed_at, decision = study.arrived_at + _QUIET, policy.decide(study.case())
    return (
        {
            "id": own,
            "study_instance_uid": uid,
            "opened_at": study.arrived_at,
            "last_instance_at": study.arrived_at,
            "closed_at": closed_at,
        },
        {
            "study_id": own,
            "arrived_at": study.arrived_at,
            "leading_job_id": own,
            "rank": len(Priority) if study.withheld else decision.priority.rank,
        },
        {
            "id": own,
            "study_id": own,
            "opened_at": closed_at,
            "lane": study.lane.value,
            "finished_at": study.analysed_at,
        },
        {
            "job_id": own,
            "priority": decision.priority.value,
            "rule": decision.rule,
            "policy_inputs": decision.inputs,
            "case_score": study.confidence,
            "out_of_distribution": study.out_of_distribution,
            "analysed_at": study.analysed_at,
            "withheld": study.withheld,
        },
    )


def _uid(study: DrawnStudy) -> str:
    return f"2.25.{70_000_000 + study.number}"


def _arrive(session: Session, study: DrawnStudy) -> int:
    uid, content = _uid(study), f"{study.number:064x}"
    instance = StoredInstance(uid, f"{uid}.1", f"{uid}.1.1", MR_IMAGE, EXPLICIT, "MR", content, content, 1000)
    facts = StudyFacts(f"P{study.number}", f"A{study.number}", f"{study.arrived_at:%Y%m%d}", "Head")
    origin = Origin("MODALITY", None, study.lane)
    registering.register_instance(session, instance, facts, origin=origin, now=study.arrived_at)
    study_id = session.scalars(select(StudyRow.id).where(StudyRow.study_instance_uid == uid)).one()
    decision = Decision(Reason.QUIET, study.arrived_at, {"quiet_seconds": _QUIET.total_seconds()})
    seen = SeenStudy(load_routes(), (series_facts(uid),))
    opened = closing.close(session, study_id, seen, decision=decision, now=study.arrived_at + _QUIET)
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
