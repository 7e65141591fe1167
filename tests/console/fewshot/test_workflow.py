"""The few-shot workflow as people and programs meet it: the command line and the API on one database."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from console.app import create_app
from console.config import ConsoleSettings
from storage.database import Database, connect
from storage.fewshot import items
from storage.fewshot.items import Split
from storage.objects import ObjectStore
from tests.support.classification import DRAFT, NOW, PASSING, THIN, judge, new_adapter, new_item, new_task
from tests.support.commands import oncue
from tests.support.tokens import bearer, new_token

NAME = DRAFT.name


@pytest.fixture
def state(tmp_path: Path, sqlite_template: Path) -> Path:
    """A state folder with a task, its items, and two adapters; the second was judged with too little data."""
    shutil.copy(sqlite_template, tmp_path / "oncue.sqlite")
    database = connect(f"sqlite:///{tmp_path / 'oncue.sqlite'}")
    with database.write() as session:
        task = new_task(session)
        new = [new_item(task, f"S{n}", Split.SUPPORT, label=DRAFT.classes[n % 2]) for n in range(4)]
        items.add(session, task, [*new, new_item(task, "E1", Split.EVALUATION)], actor="reader", now=NOW)
        judge(session, task, new_adapter(session, task), PASSING)
        judge(session, task, new_adapter(session, task, seed=1), PASSING, THIN)
    database.dispose()
    return tmp_path


def _client(state: Path) -> tuple[TestClient, Database]:
    database = connect(f"sqlite:///{state / 'oncue.sqlite'}")
    app = create_app(database, ObjectStore(state / "objects"), ConsoleSettings())
    return TestClient(app, base_url="http://127.0.0.1", headers=bearer(new_token(database, "portal"))), database


def test_promote_refuse_override_and_roll_back_from_the_command_line(state: Path) -> None:
    assert oncue("classification", "promote", NAME, 1, "--state", state).code == 0
    refused = oncue("classification", "promote", NAME, 2, "--state", state)
    assert refused.code == 1
    assert "subgroups:sex" in refused.err
    over = "subgroups:sex=men are read twice"
    assert oncue("classification", "promote", NAME, 2, "--override", over, "--state", state).code == 0
    back = oncue("classification", "rollback", NAME, "--reason", "worse", "--state", state, "--json")
    assert back.json[0]["adapter"] == 1
    (shown,) = oncue("classification", "show", NAME, "--state", state, "--json").json
    assert [one["decision"] for one in shown["promotions"]] == ["promoted", "refused", "promoted", "rolled-back"]
    assert shown["promotions"][2]["overrides"] == {"subgroups:sex": "men are read twice"}
    assert shown["task"]["predicting"] == 1
    assert shown["items"]["support"] == {"plain": 2, "striped": 2}
    table = oncue("classification", "show", NAME, "--state", state).out
    assert "baseline" in table
    assert "PASS" in table


def test_items_are_listed_without_a_name_and_relabelled_with_a_reason(state: Path) -> None:
    listed = oncue("classification", "items", "list", NAME, "--split", "evaluation", "--state", state, "--json").json
    assert [item["split"] for item in listed] == ["evaluation"]
    number = listed[0]["id"]
    command = ("classification", "items", "relabel", NAME, number, "--label", "striped", "--state", state)
    assert oncue(*command).code == 2
    history = oncue(*command, "--reason", "biopsy", "--json").json
    assert [event["label"] for event in history] == ["plain", "striped"]


def test_decisions_over_http_are_signed_and_a_refusal_names_the_checks(state: Path) -> None:
    client, database = _client(state)
    base = f"/api/classification/tasks/{NAME}"
    assert client.post(f"{base}/promotions", json={"by": "", "adapter": 1}).status_code == 422
    refused = client.post(f"{base}/promotions", json={"by": "Dr X", "adapter": 2})
    assert (refused.status_code, refused.json()["code"]) == (409, "promotion_refused")
    assert "subgroups:sex" in refused.json()["message"]
    assert client.post(f"{base}/promotions", json={"by": "Dr X", "adapter": 1}).status_code == 201
    body = {"by": "Dr X", "adapter": 2, "overrides": {"subgroups:sex": "known"}}
    assert client.post(f"{base}/promotions", json=body).json()["actor"] == "web/portal/Dr X"
    back = client.post(f"{base}/rollbacks", json={"reason": "worse"})
    assert (back.status_code, back.json()["adapter"], back.json()["actor"]) == (201, 1, "web/portal")
    assert client.post(f"{base}/rollbacks", json={"by": "Dr X", "reason": "worse"}).status_code == 409
    shown = client.get(base).json()
    assert shown["task"]["predicting"] == 1
    assert client.get("/api/classification/adapters/2/evaluation").json()["verdict"] == "INSUFFICIENT"
    assert client.get("/api/classification/tasks/nothing").status_code == 404
    database.dispose()


def test_a_fit_requested_over_http_is_done_by_a_worker_once(state: Path) -> None:
    from workers.config import WorkerSettings
    from workers.fewshot.fit_requests import FitRunner

    client, database = _client(state)
    placed = client.post(f"/api/classification/tasks/{NAME}/adapters", json={"by": "Dr X", "head": "prototypes"})
    assert (placed.status_code, placed.json()["state"]) == (202, "waiting")
    runner = FitRunner(database, WorkerSettings(), owner="worker-1")
    assert runner.run(placed.json()["id"])
    assert not runner.run(placed.json()["id"])
    done = client.get(f"/api/classification/orders/{placed.json()['id']}").json()
    assert (done["state"], done["code"]) == ("failed", "record_missing"), "these items were never embedded"
    database.dispose()


def test_the_study_page_says_on_what_grounds_a_label_stands(state: Path) -> None:
    from dataclasses import replace

    from storage import analyses, arrays, jobs
    from storage.explanations import Neighbour, Prediction
    from tests.support.records import NOW as LATER
    from tests.support.records import analysed_study, queued_study

    client, database = _client(state)
    objects = ObjectStore(state / "objects")
    objects.prepare()
    first = analysed_study(database, objects, 1)
    queued = queued_study(database, 2)
    prediction = Prediction(1, ("plain", "striped"), 0.2, (Neighbour(3, "striped", 0.91),), in_mask_share=0.4)
    with database.read() as session:
        analysis = analyses.load(session, first.job_id, objects)
    finding = replace(
        analysis.findings[0], label=None, label_probability=None, abstained="ambiguous_set", prediction=prediction
    )
    with database.write() as session:
        held = jobs.claim(session, queued.job_id, owner="worker-1", lease_seconds=60, now=LATER)
        assert held is not None
        grid = arrays.save_grid(objects, analysis.frames, analysis.label_map)
        analyses.save(session, held, replace(analysis, findings=(finding,)), grid_digest=grid, now=LATER)
    page = client.get("/studies/2").text
    for words in ("defer to reader: ambiguous_set", "plain, striped", "striped 0.91 (item 3)", "40 % of the saliency"):
        assert words in page
    given = client.get("/api/studies/2").json()["result"]["findings"][0]["prediction"]
    assert given["nearest"] == [{"item": 3, "label": "striped", "similarity": 0.91}]
    database.dispose()


def test_the_study_page_shows_the_label_of_a_whole_image_without_a_lesion(state: Path) -> None:
    from dataclasses import replace

    from storage import analyses, arrays, jobs
    from storage.domain import Finding, Presence
    from storage.explanations import Neighbour, Prediction
    from storage.volumes import Extent
    from tests.support.records import NOW as LATER
    from tests.support.records import analysed_study, queued_study
    from workers.image_labels import IMAGING_FINDING

    client, database = _client(state)
    objects = ObjectStore(state / "objects")
    objects.prepare()
    first = analysed_study(database, objects, 1)
    queued = queued_study(database, 2)
    with database.read() as session:
        analysis = analyses.load(session, first.job_id, objects)
    finding = Finding(
        *(0, Presence.ASSESSED, IMAGING_FINDING, 0.93, 0.0, 0.0, "Whole image", "2.25.7", "striped", 0.93),
        prediction=Prediction(1, ("striped",), 0.2, (Neighbour(3, "striped", 0.91),)),
        extent=Extent.UNKNOWN,
    )
    with database.write() as session:
        held = jobs.claim(session, queued.job_id, owner="worker-1", lease_seconds=60, now=LATER)
        assert held is not None
        grid = arrays.save_grid(objects, analysis.frames, None)
        labelled = replace(analysis, findings=(finding,), label_map=None)
        analyses.save(session, held, labelled, grid_digest=grid, now=LATER)
    page = client.get("/studies/2").text
    for words in ("Imaging finding", "assessed", "striped 93 %", "not ruled out: striped", "striped 0.91 (item 3)"):
        assert words in page
    assert "inside the lesion" not in page
    assert client.get("/api/studies/2").json()["result"]["findings"][0]["presence"] == "assessed"
    database.dispose()
