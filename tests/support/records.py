"""Records as gateway and worker would leave them, written through the same functions, without computing anything."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np

from storage import analyses, arrays, deliveries, delivery_claims, jobs, registering, reports
from storage.arrivals import Origin, StudyFacts
from storage.closing import SeenStudy
from storage.database import Database
from storage.domain import (
    Algorithm,
    Analysis,
    Code,
    Finding,
    ObjectKind,
    Presence,
    Priority,
    Site,
    StageTiming,
    StoredInstance,
    Structure,
    TriageDecision,
)
from storage.explanations import KeptExplanation, Panel
from storage.objects import ObjectStore
from storage.routes.file import Routes, load_routes, parse_routes
from storage.routes.series_facts import SeriesFacts
from storage.volumes import FrameRef, LabelMap
from storage.written_objects import WrittenObject
from tests.support.routing import close_quiet, quiet_studies

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4"
EXPLICIT = "1.2.840.10008.1.2.1"
PICTURE = b"\x89PNG\r\n\x1a\n a picture, as far as the pages care"
PANEL = b"\x89PNG\r\n\x1a\n a panel, as far as the pages care"
DESTINATION = "PACS@127.0.0.1:104"
PATIENT = "PATIENT-4711"
TWO_HEAD_ROUTES = parse_routes(
    b"""version = 1
[[route]]
name = "bleeding"
analyser = "zero-shot"
match = {modality = ["MR"], body_part = ["head"]}
[[route]]
name = "tumour"
analyser = "zero-shot"
match = {modality = ["MR"], body_part = ["head"]}
""",
    name="routes.toml",
)
"""Routes that give each head MR two jobs."""
_KIDNEY = Code("64033007", "SCT", "Kidney")
_SIDES = (Code("7771000", "SCT", "Left"), Code("24028007", "SCT", "Right"))
_LESION = Code("52988006", "SCT", "Lesion")
_ALGORITHM = Algorithm("diffusion", "1.0", "a" * 64, "{}")


@dataclass(frozen=True, slots=True)
class Recorded:
    """A study on record: its UID, its newest job, and the digests of its overlay picture and its panel."""

    study_instance_uid: str
    job_id: int
    overlay: str
    panel: str = ""


def queued_study(database: Database, number: int = 1, *, images: int = 2, routes: Routes | None = None) -> Recorded:
    """Record a study that is complete and waits for a worker; by default one job, of the route for head MR."""
    closed = closed_study(database, number, images=images, routes=routes)
    assert closed.job_ids
    return Recorded(closed.study_instance_uid, closed.job_ids[0], "")


@dataclass(frozen=True, slots=True)
class Closed:
    """A complete study on record: its UID, our number for it, and the jobs that its routes got."""

    study_instance_uid: str
    study_id: int
    job_ids: tuple[int, ...]


def closed_study(
    database: Database, number: int = 1, *, images: int = 2, routes: Routes | None = None, body_part: str = "HEAD"
) -> Closed:
    """Record a study that is complete, by the shipped routes or others, with whatever jobs these want."""
    uid = f"2.25.{1000 + number}"
    facts = StudyFacts(PATIENT, f"ACC{number}", "20260301", "Head")
    for index in range(images):
        with database.write() as session:
            registering.register_instance(
                session, _instance(uid, index), facts, origin=Origin("MODALITY", None), now=NOW
            )
    seen = SeenStudy(routes or load_routes(), (series_facts(uid, body_part=body_part),))
    with database.write() as session:
        later = NOW + timedelta(seconds=60)
        (study_id,) = quiet_studies(session, quiet_seconds=1, now=later)
        job_ids = close_quiet(session, study_id, seen, quiet_seconds=1, now=later)
    assert job_ids is not None
    return Closed(uid, study_id, job_ids)


def series_facts(study_uid: str, *, body_part: str = "HEAD") -> SeriesFacts:
    """Return what the gateway would read of the series of a recorded study."""
    return SeriesFacts(f"{study_uid}.1", "MR", frozenset({MR_IMAGE}), body_part_examined=body_part, frames=24)


def failed_study(database: Database, number: int = 1, *, code: str = "no_usable_series") -> Recorded:
    """Record a study whose analysis ended with a code."""
    queued = queued_study(database, number)
    with database.write() as session:
        held = jobs.claim(session, queued.job_id, owner="worker-1", lease_seconds=60, now=NOW)
        assert held is not None
        jobs.fail(session, held, code=code, reason="every series was left out", retryable=False, now=NOW)
    return queued


def analysed_study(
    database: Database,
    objects: ObjectStore,
    number: int = 1,
    *,
    priority: Priority = Priority.HIGH,
    confidence: float = 0.875,
    present: bool = True,
    out_of_distribution: float | None = 0.25,
) -> Recorded:
    """Record a study with a result, its SEG and SR, and their delivery to one destination."""
    queued = queued_study(database, number)
    overlay, panel = objects.put(PICTURE + bytes([number])), objects.put(PANEL + bytes([number]))
    analysis = replace(
        _analysis(overlay, priority=priority, confidence=confidence, present=present),
        out_of_distribution=out_of_distribution,
        explanation=explanation(objects, panel) if present else None,
    )
    save_result(database, objects, queued.job_id, analysis, number=number)
    return Recorded(queued.study_instance_uid, queued.job_id, overlay, panel)


def result(objects: ObjectStore, number: int = 1, *, priority: Priority = Priority.HIGH) -> Analysis:
    """Return what a job may have found: one lesion of 12.5 ml."""
    return _analysis(objects.put(PICTURE + bytes([number])), priority=priority, confidence=0.875, present=True)


def with_organs(analysis: Analysis) -> Analysis:
    """Return what a multi-label model may have found: the lesion of a result, in the left of two kidneys, and both."""
    left, right = (Site(_KIDNEY, side) for side in _SIDES)
    count = sum(finding.number > 0 for finding in analysis.findings)
    structures = (
        Structure(count + 1, "kidney_left", left, 180.25, "kidney_left", "2.25.78", tuple(range(1, count + 1))),
        Structure(count + 2, "kidney_right", right, 165.5, "kidney_right", "2.25.79"),
    )
    findings = tuple(replace(finding, site=left if finding.number else None) for finding in analysis.findings)
    labels = np.array([[[0, 1], [2, 3]]], dtype=np.uint8)
    labels[labels > count + 2] = 0
    return replace(analysis, findings=findings, structures=structures, label_map=LabelMap(labels, analysis.frames))


def save_result(database: Database, objects: ObjectStore, job_id: int, analysis: Analysis, *, number: int = 1) -> None:
    """Record what a job found, and, where it is to be sent, its objects and their delivery to one destination."""
    grid = arrays.save_grid(objects, analysis.frames, analysis.label_map)
    with database.write() as session:
        held = jobs.claim(session, job_id, owner="worker-1", lease_seconds=60, now=NOW)
        assert held is not None
        analyses.save(session, held, analysis, grid_digest=grid, now=NOW)
    if analysis.withheld is not None:
        return
    kinds = (ObjectKind.SEG, ObjectKind.SR) if analysis.label_map is not None else (ObjectKind.SR,)
    with database.write() as session:
        written = [_written(number, kind) for kind in kinds]
        reports.written(session, job_id, written, destinations=[DESTINATION], now=NOW)


def finish_again(database: Database, objects: ObjectStore, job_id: int) -> None:
    """Record a result for a later job of a study that was analysed before; its report is not written yet."""
    analysis = result(objects)
    grid = arrays.save_grid(objects, analysis.frames, analysis.label_map)
    with database.write() as session:
        held = jobs.claim(session, job_id, owner="worker-1", lease_seconds=60, now=NOW)
        assert held is not None
        analyses.save(session, held, analysis, grid_digest=grid, now=NOW)


def written_study(database: Database, analysis: Analysis, objects: ObjectStore, number: int = 1) -> int:
    """Record a study with a ready-made analysis of images that are in the object store; return its job."""
    queued = queued_study(database, number)
    grid = arrays.save_grid(objects, analysis.frames, analysis.label_map)
    with database.write() as session:
        held = jobs.claim(session, queued.job_id, owner="worker-1", lease_seconds=60, now=NOW)
        assert held is not None
        analyses.save(session, held, analysis, grid_digest=grid, now=NOW)
    return queued.job_id


def deliver(database: Database, *, status: int = 0x0000, now: datetime = NOW) -> None:
    """Record that the destination accepted what was due."""
    with database.write() as session:
        due = delivery_claims.claim_due(session, owner="gateway-1", lease_seconds=60, now=now)
    with database.write() as session:
        for item in due:
            deliveries.sent(session, item.id, owner="gateway-1", status=status, now=now)


def _instance(study_uid: str, index: int) -> StoredInstance:
    content = f"{study_uid} {index}".encode()
    digest = hashlib.sha256(content).hexdigest()
    return StoredInstance(
        study_uid,
        f"{study_uid}.1",
        f"{study_uid}.1.{index + 1}",
        MR_IMAGE,
        EXPLICIT,
        "MR",
        digest,
        digest,
        len(content),
    )


def _written(number: int, kind: ObjectKind) -> WrittenObject:
    uid = f"2.25.{9000 + 10 * number + list(ObjectKind).index(kind)}"
    return WrittenObject(kind, uid, "1.2.840.10008.5.1.4.1.1.66.4", f"{uid}.1", EXPLICIT, "b" * 64, 1000)


def explanation(objects: ObjectStore, panel: str) -> KeptExplanation:
    """Return what a result may show: an attention map, and one panel."""
    attention = arrays.save_attention(objects, np.array([[[0, 51], [102, 255]]], dtype=np.uint8))
    return KeptExplanation(attention, (Panel(1, panel, 0, 0.75, 0.05, 0.5, 0.125),))


def _analysis(overlay: str, *, priority: Priority, confidence: float, present: bool) -> Analysis:
    frames = (FrameRef("2.25.1.1.1", MR_IMAGE, None, "c" * 64),)
    finding = Finding(
        number=1 if present else 0,
        presence=Presence.PRESENT if present else Presence.ABSENT,
        concept=_LESION,
        confidence=confidence,
        volume_ml=12.5 if present else 0.0,
        longest_diameter_mm=31.5 if present else 0.0,
        tracking_id="lesion-1",
        tracking_uid="2.25.77",
        label="tumour-like" if present else None,
        label_probability=0.75 if present else None,
    )
    return Analysis(
        series_instance_uid="2.25.1.1",
        input_sha256="d" * 64,
        algorithm=_ALGORITHM,
        classifier=None,
        case_score=confidence,
        out_of_distribution=0.25,
        findings=(finding,),
        label_map=LabelMap(np.ones((1, 2, 2), dtype=np.uint8), frames) if present else None,
        frames=frames,
        decision=TriageDecision(priority, "lesion", "e" * 64, "{}"),
        timings=(StageTiming("load", 0.5), StageTiming("segment", 2.0)),
        overlays=(overlay,),
        notes=("localizer: 3 images",),
    )
