"""Which earlier result growth is measured against."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from storage import jobs, registering, superseding
from storage.arrivals import Origin, StudyFacts
from storage.closing import SeenStudy
from storage.database import Database
from storage.domain import Analysis, Extent, Presence, StoredInstance
from storage.models import StudyRow
from storage.objects import ObjectStore
from storage.routes.file import load_routes
from storage.triage.case import Earlier
from storage.triage.earlier_results import earlier_result
from tests.support.records import EXPLICIT, MR_IMAGE, NOW, result, save_result, series_facts
from tests.support.routing import close_quiet, quiet_studies


def _study(database: Database, number: int, study_date: str, *, patient: str = "P1") -> tuple[int, int]:
    """Record a complete study and return its number and its job."""
    uid, at = f"2.25.{number}", NOW + timedelta(minutes=number)
    content = f"{number:064}"
    instance = StoredInstance(uid, f"{uid}.1", f"{uid}.1.1", MR_IMAGE, EXPLICIT, "MR", content, content, 10)
    with database.write() as session:
        facts = StudyFacts(patient, "", study_date, "Head")
        registering.register_instance(session, instance, facts, origin=Origin("CT1", None), now=at)
    with database.write() as session:
        later = at + timedelta(seconds=60)
        (study_id,) = quiet_studies(session, quiet_seconds=1, now=later)
        seen = SeenStudy(load_routes(), (series_facts(uid),))
        (job_id,) = close_quiet(session, study_id, seen, quiet_seconds=1, now=later) or ()
    return study_id, job_id


def _analysed(
    database: Database,
    objects: ObjectStore,
    number: int,
    study_date: str,
    *,
    volume_ml: float = 12.5,
    patient: str = "P1",
) -> tuple[int, int]:
    study_id, job_id = _study(database, number, study_date, patient=patient)
    analysis = result(objects)
    findings = tuple(replace(one, volume_ml=volume_ml) for one in analysis.findings)
    save_result(database, objects, job_id, replace(analysis, findings=findings), number=number)
    return study_id, job_id


def _route(database: Database, job_id: int) -> str:
    with database.read() as session:
        return jobs.find(session, job_id).route


def _earlier(database: Database, study_id: int, route: str) -> Earlier | None:
    with database.read() as session:
        return earlier_result(session, study_id, route)


def test_the_newest_result_that_was_acquired_before_counts(database: Database, objects: ObjectStore) -> None:
    _analysed(database, objects, 1, "20250101", volume_ml=3.0)
    _, newest = _analysed(database, objects, 2, "20251201", volume_ml=8.0)
    _analysed(database, objects, 3, "20260401", volume_ml=20.0)
    _analysed(database, objects, 4, "20260201", volume_ml=1.0, patient="P2")
    study_id, job_id = _study(database, 5, "20260301")
    assert _earlier(database, study_id, _route(database, job_id)) == Earlier(newest, 8.0, 90)
    assert _earlier(database, study_id, "another-route") is None


def test_of_one_day_the_one_that_came_first_is_earlier(database: Database, objects: ObjectStore) -> None:
    _, first = _analysed(database, objects, 1, "20260301")
    study_id, job_id = _study(database, 2, "20260301")
    found = _earlier(database, study_id, _route(database, job_id))
    assert found == Earlier(first, 12.5, 0)


@pytest.mark.parametrize("column", ["patient_id", "study_date"])
def test_a_study_without_patient_or_date_has_no_earlier_one(
    database: Database, objects: ObjectStore, column: str
) -> None:
    first, _ = _analysed(database, objects, 1, "20250101")
    study_id, job_id = _study(database, 2, "20260301")
    with database.write() as session:
        for number in (first, study_id):
            setattr(session.get_one(StudyRow, number), column, "")
    assert _earlier(database, study_id, _route(database, job_id)) is None


def _altered(objects: ObjectStore, what: str) -> Analysis:
    analysis = result(objects)
    if what == "withheld":
        return replace(analysis, withheld="unlike_training_data")
    if what == "absent":
        findings = (replace(analysis.findings[0], number=0, presence=Presence.ABSENT, volume_ml=0.0),)
        return replace(analysis, findings=findings, label_map=None)
    return replace(analysis, findings=tuple(replace(one, extent=Extent.AREA) for one in analysis.findings))


def test_a_result_that_was_withheld_or_superseded_does_not_count(database: Database, objects: ObjectStore) -> None:
    _, withheld = _study(database, 1, "20250101")
    save_result(database, objects, withheld, _altered(objects, "withheld"))
    old, superseded = _analysed(database, objects, 2, "20250201")
    study_id, job_id = _study(database, 3, "20260301")
    route = _route(database, job_id)
    found = _earlier(database, study_id, route)
    assert found is not None
    assert found.job_id == superseded
    with database.write() as session:
        superseding.supersede_results(session, old, route, by=None, actor="test", now=NOW)
    assert _earlier(database, study_id, route) is None


def test_a_volume_that_is_not_known_stays_so_and_nothing_found_is_none(
    database: Database, objects: ObjectStore
) -> None:
    _, flat = _study(database, 1, "20250101")
    save_result(database, objects, flat, _altered(objects, "flat"))
    study_id, job_id = _study(database, 2, "20260301")
    route = _route(database, job_id)
    assert _earlier(database, study_id, route) == Earlier(flat, None, 424)
    save_result(database, objects, job_id, _altered(objects, "absent"), number=2)
    third, _ = _study(database, 3, "20260401")
    assert _earlier(database, third, route) == Earlier(job_id, 0.0, 31)
