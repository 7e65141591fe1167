from __future__ import annotations

import json
from dataclasses import replace

import numpy as np

from storage import analyses, arrays, audit, jobs, worklist
from storage.database import Database
from storage.domain import Priority
from storage.objects import ObjectStore
from tests.support.records import (
    NOW,
    TWO_HEAD_ROUTES,
    analysed_study,
    closed_study,
    queued_study,
    result,
    save_result,
    with_organs,
)


def test_an_explanation_is_read_back_with_its_analysis(database: Database, objects: ObjectStore) -> None:
    recorded = analysed_study(database, objects)
    with database.read() as session:
        explanation = analyses.explanation_of(session, recorded.job_id)
        pictures = analyses.pictures_of(session, recorded.job_id)
    assert explanation is not None
    (panel,) = explanation.panels
    assert (panel.number, panel.picture, panel.slice_index) == (1, recorded.panel, 0)
    assert (panel.attention_inside, panel.residual_outside) == (0.75, 0.125)
    assert pictures == {recorded.overlay, recorded.panel}
    np.testing.assert_array_equal(arrays.load_attention(objects, explanation.attention), [[[0, 51], [102, 255]]])


def test_a_job_without_an_explanation_shows_nothing(database: Database, objects: ObjectStore) -> None:
    found_nothing = analysed_study(database, objects, 1, present=False)
    unanalysed = queued_study(database, 2)
    with database.read() as session:
        assert analyses.explanation_of(session, found_nothing.job_id) is None
        assert analyses.explanation_of(session, unanalysed.job_id) is None
        assert analyses.pictures_of(session, unanalysed.job_id) == frozenset()


def test_saving_no_explanation_takes_the_earlier_one_away(database: Database, objects: ObjectStore) -> None:
    recorded = analysed_study(database, objects)
    with database.write() as session:
        analyses.save_explanation(session, recorded.job_id, None)
    with database.read() as session:
        assert analyses.explanation_of(session, recorded.job_id) is None


def test_organs_are_read_back_with_the_findings_in_them(database: Database, objects: ObjectStore) -> None:
    queued, found = queued_study(database), with_organs(result(objects))
    save_result(database, objects, queued.job_id, found)
    with database.read() as session:
        read = analyses.load(session, queued.job_id, objects)
        (event,) = audit.history(session, tag="study:analysed")
    assert read.structures == found.structures
    assert read.findings == found.findings
    assert json.loads(event.details)["organs"] == 2


def test_a_retried_job_replaces_the_organs_of_before(database: Database, objects: ObjectStore) -> None:
    queued, found = queued_study(database), with_organs(result(objects))
    save_result(database, objects, queued.job_id, replace(found, withheld="unlike_training_data"))
    with database.write() as session:
        jobs.retry(session, queued.job_id, actor="operator", now=NOW)
    fewer = replace(found, findings=(), structures=found.structures[1:], withheld="unlike_training_data")
    save_result(database, objects, queued.job_id, fewer)
    with database.read() as session:
        assert analyses.structures_of(session, queued.job_id) == found.structures[1:]
        assert analyses.findings_of(session, queued.job_id) == ()


def test_what_says_nothing_of_lesions_leads_a_study_only_alone(database: Database, objects: ObjectStore) -> None:
    closed = closed_study(database, routes=TWO_HEAD_ROUTES)
    organs = replace(with_organs(result(objects)), findings=())
    save_result(database, objects, closed.job_ids[0], organs)
    with database.read() as session:
        (alone,) = worklist.worklist(session)
    assert (alone.finding, alone.confidence, alone.volume_ml, alone.priority) == (None, None, None, Priority.HIGH)
    save_result(database, objects, closed.job_ids[1], result(objects, priority=Priority.LOW), number=2)
    with database.read() as session:
        (both,) = worklist.worklist(session)
    assert (both.finding, both.priority, both.leading_job_id) == ("Lesion", Priority.LOW, closed.job_ids[1])
