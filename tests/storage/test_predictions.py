from __future__ import annotations

from dataclasses import replace

import numpy as np

from storage import analyses, arrays, jobs
from storage.database import Database
from storage.domain import Presence
from storage.explanations import Neighbour, Prediction, SaliencyMap
from storage.fewshot import items
from storage.fewshot.items import Split
from storage.objects import ObjectStore
from tests.support.classification import new_adapter, new_item, new_task
from tests.support.records import NOW, analysed_study, queued_study


def _adapter(database: Database) -> int:
    with database.write() as session:
        task = new_task(session)
        items.add(session, task, [new_item(task, "P", Split.SUPPORT)], actor="test", now=NOW)
        return new_adapter(session, task).id


def test_a_prediction_is_kept_with_its_finding_and_replaced_with_it(database: Database, objects: ObjectStore) -> None:
    saliency = SaliencyMap((1, 3), np.linspace(0, 1, 32, dtype=np.float32).reshape(2, 4, 4))
    digest = arrays.save_saliency(objects, saliency)
    prediction = Prediction(_adapter(database), ("a", "b"), 0.25, (Neighbour(1, "a", 0.5),), True, digest, 0.75)
    first = analysed_study(database, objects, 1)
    with database.read() as session:
        analysis = analyses.load(session, first.job_id, objects)
    assert analysis.findings[0].prediction is None
    finding = replace(analysis.findings[0], presence=Presence.PRESENT, prediction=prediction)
    queued = queued_study(database, 2)
    with database.write() as session:
        held = jobs.claim(session, queued.job_id, owner="worker-1", lease_seconds=60, now=NOW)
        assert held is not None
        grid = arrays.save_grid(objects, analysis.frames, analysis.label_map)
        analyses.save(session, held, replace(analysis, findings=(finding,)), grid_digest=grid, now=NOW)
    with database.read() as session:
        (read,) = analyses.load(session, queued.job_id, objects).findings
    assert read.prediction == prediction
    loaded = arrays.load_saliency(objects, digest)
    assert loaded.slices == (1, 3)
    assert np.allclose(loaded.values, saliency.values, atol=1e-3)
