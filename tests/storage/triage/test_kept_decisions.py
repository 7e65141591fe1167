from __future__ import annotations

from datetime import timedelta

from sqlalchemy import delete, update

from storage.database import Database
from storage.models import StandingRow
from storage.objects import ObjectStore
from storage.triage.kept_decisions import Span, count, decisions
from storage.triage.policy_file import load_policy
from tests.support.triage_history import BEGIN, drawn_studies, record_history


def test_decisions_come_whole_and_in_the_order_of_their_jobs(database: Database, objects: ObjectStore) -> None:
    studies = drawn_studies(1201)
    record_history(database, objects, studies)
    with database.read() as session:
        found = list(decisions(session, Span(BEGIN)))
        assert count(session, Span(BEGIN)) == len(found) == 1201
    assert [one.job_id for one in found] == sorted({one.job_id for one in found})
    assert [one.inputs for one in found] == [study.case().inputs() for study in studies]
    assert [one.analysed_at for one in found] == [study.analysed_at for study in studies]
    assert [one.is_withheld for one in found] == [study.withheld is not None for study in studies]
    decided = [load_policy().decide(study.case()) for study in studies]
    assert [(one.verdict.priority, one.verdict.rule) for one in found] == [(one.priority, one.rule) for one in decided]


def test_a_study_came_with_its_last_image_before_it_was_analysed(database: Database, objects: ObjectStore) -> None:
    studies = drawn_studies(5)
    record_history(database, objects, studies)
    with database.write() as session:  # of the second study images come again, nothing is known of the third any more
        again = StandingRow.study_id == 10_002
        session.execute(update(StandingRow).where(again).values(arrived_at=BEGIN + timedelta(days=90)))
        session.execute(delete(StandingRow).where(StandingRow.study_id == 10_003))
    with database.read() as session:
        came = [one.arrived_at for one in decisions(session, Span(BEGIN))]
    closed_after = timedelta(seconds=30)
    late = {1: closed_after, 2: closed_after}
    assert came == [study.arrived_at + late.get(index, timedelta()) for index, study in enumerate(studies)]
