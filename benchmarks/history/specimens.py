"""One study of each kind, taken through the project's own writers from its first image to its delivery."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from benchmarks.history.kinds import ROUTES, Kind
from storage import (
    analyses,
    arrays,
    closing,
    deliveries,
    delivery_claims,
    job_messages,
    jobs,
    reading,
    registering,
    reports,
)
from storage.arrivals import Origin, StudyFacts
from storage.closing import Decision, Reason, SeenStudy
from storage.database import Database
from storage.domain import (
    Algorithm,
    Analysis,
    Code,
    Finding,
    ObjectKind,
    Presence,
    StageTiming,
    StoredInstance,
    TriageDecision,
)
from storage.routes.series_facts import SeriesFacts
from storage.volumes import FrameRef
from storage.written_objects import WrittenObject

if TYPE_CHECKING:
    from storage.objects import ObjectStore

DESTINATION = "PACS@127.0.0.1:104"
CONFIDENCE = 0.8754321
"""The leading finding's confidence of every specimen: a number that stands for nothing else."""
DIGEST = "d1" * 32
STUDY_DATE = "19000101"
IMAGES = 2
WORKER, READER = "worker-1", "dr.adler"
_STORAGE = {"MR": "1.2.840.10008.5.1.4.1.1.4", "CT": "1.2.840.10008.5.1.4.1.1.2", "US": "1.2.840.10008.5.1.4.1.1.6.1"}
_EXPLICIT = "1.2.840.10008.1.2.1"
_LESION = Code("52988006", "SCT", "Lesion")
_LEASE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Specimen:
    """A study that was really written: what stands for it in every row, and when its first image came."""

    kind: Kind
    study_id: int
    uid: str
    patient_id: str
    accession_number: str
    opened_at: datetime


def write(database: Database, objects: ObjectStore, kind: Kind, number: int, *, now: datetime) -> Specimen:
    """Write one study of a kind. Every UID in it begins with the study's."""
    uid = f"2.25.4711000{number:03}00"
    arriving = Specimen(kind, 0, uid, f"SPECIMEN-{number:03}", f"SPEC{number:03}", now)
    study_id, job_ids = _arrive(database, arriving)
    specimen = replace(arriving, study_id=study_id)
    for job_id in job_ids:
        _analyse(database, objects, specimen, job_id)
    return specimen


def _arrive(database: Database, specimen: Specimen) -> tuple[int, tuple[int, ...]]:
    kind, now = specimen.kind, specimen.opened_at
    facts = StudyFacts(specimen.patient_id, specimen.accession_number, STUDY_DATE, f"{kind.body_part} ROUTINE")
    origin = Origin(kind.sender, None)
    for number in range(IMAGES):
        with database.write() as session:
            later = now + timedelta(seconds=number)
            registering.register_instance(session, _instance(specimen, number), facts, origin=origin, now=later)
    series = SeriesFacts(f"{specimen.uid}.1", kind.modality, body_part_examined=kind.body_part, frames=24)
    moment = now + timedelta(minutes=2)
    with database.write() as session:
        (study,) = closing.arriving(session, now=moment)
        decision = Decision(Reason.QUIET, study.last_instance_at, {"quiet_seconds": 60})
        seen = SeenStudy(ROUTES, (series,))
        return study.id, closing.close(session, study.id, seen, decision=decision, now=moment) or ()


def _instance(specimen: Specimen, number: int) -> StoredInstance:
    digest = hashlib.sha256(f"{specimen.uid} {number}".encode()).hexdigest()
    return StoredInstance(
        study_instance_uid=specimen.uid,
        series_instance_uid=f"{specimen.uid}.1",
        sop_instance_uid=f"{specimen.uid}.1.{number + 1}",
        sop_class_uid=_STORAGE[specimen.kind.modality],
        transfer_syntax_uid=_EXPLICIT,
        modality=specimen.kind.modality,
        digest=digest,
        content_sha256=digest,
        size_bytes=524_288,
    )


def _analyse(database: Database, objects: ObjectStore, specimen: Specimen, job_id: int) -> None:
    kind, now = specimen.kind, specimen.opened_at + timedelta(minutes=3)
    with database.write() as session:
        job_messages.published(session, job_id, now=now)
    with database.write() as session:
        held = jobs.claim(session, job_id, owner=WORKER, lease_seconds=_LEASE_SECONDS, now=now)
        if held is None:
            raise SystemExit(f"the job of the specimen «{kind.name}» cannot be claimed")
    done = now + timedelta(seconds=9)
    with database.write() as session:
        if kind.failure is not None:
            jobs.fail(session, held, code=kind.failure, reason="left out", retryable=False, now=done)
            return
        analysis = _analysis(specimen, held.route)
        grid = arrays.save_grid(objects, analysis.frames, None)
        analyses.save(session, held, analysis, grid_digest=grid, now=done)
    _deliver(database, specimen, job_id, now=done + timedelta(seconds=2))
    if kind.read:
        with database.write() as session:
            reading.mark_read(session, specimen.study_id, actor=READER, now=done + timedelta(minutes=20))


def _deliver(database: Database, specimen: Specimen, job_id: int, *, now: datetime) -> None:
    written = WrittenObject(
        ObjectKind.SR,
        f"{specimen.uid}.9.1",
        "1.2.840.10008.5.1.4.1.1.88.34",
        f"{specimen.uid}.9",
        _EXPLICIT,
        DIGEST,
        9_000,
    )
    with database.write() as session:
        destinations = (DESTINATION,) if specimen.kind.delivered else ()
        reports.written(session, job_id, (written,), destinations=destinations, now=now)
    with database.write() as session:
        for each in delivery_claims.claim_due(session, owner="delivery-1", lease_seconds=_LEASE_SECONDS, now=now):
            deliveries.sent(session, each.id, owner="delivery-1", status=0, now=now)


def _analysis(specimen: Specimen, route: str) -> Analysis:
    kind = specimen.kind
    if kind.priority is None:
        raise ValueError(f"«{kind.name}» has no result")
    frames = (FrameRef(f"{specimen.uid}.1.1", _STORAGE[kind.modality], None, DIGEST),)
    return Analysis(
        series_instance_uid=f"{specimen.uid}.1",
        input_sha256=DIGEST,
        algorithm=Algorithm(kind.model, "1.0", kind.weights * 32, "{}"),
        classifier=None,
        case_score=CONFIDENCE,
        out_of_distribution=0.25,
        findings=(_finding(specimen),),
        label_map=None,
        frames=frames,
        decision=TriageDecision(kind.priority, "lesion", "e" * 64, json.dumps({"volume_ml": 12.5})),
        timings=(StageTiming("load", 0.5), StageTiming("segment", 2.0)),
        overlays=(DIGEST,),
        notes=("localizer: 3 images",),
        route=route,
        routes_sha256=ROUTES.sha256,
    )


def _finding(specimen: Specimen) -> Finding:
    present = specimen.kind.present
    return Finding(
        number=int(present),
        presence=Presence.PRESENT if present else Presence.ABSENT,
        concept=_LESION,
        confidence=CONFIDENCE,
        volume_ml=12.5 if present else 0.0,
        longest_diameter_mm=31.5 if present else 0.0,
        tracking_id="lesion-1",
        tracking_uid=f"{specimen.uid}.8",
    )
