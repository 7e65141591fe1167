from __future__ import annotations

import numpy as np

from storage import analyses, arrays
from storage.database import Database
from storage.objects import ObjectStore
from tests.support.records import analysed_study, queued_study


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
