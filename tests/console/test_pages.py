"""What the pages show of several routes; everything else of them is in test_app.py."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import pytest
from fastapi.testclient import TestClient

from console.app import create_app
from console.config import ConsoleSettings
from storage import processes, registering
from storage.arrivals import Origin, StudyFacts
from storage.database import utc_now
from storage.domain import Presence, Priority, StoredInstance
from storage.processes import Served
from storage.volumes import Extent
from tests.console.conftest import Place
from tests.support.records import (
    EXPLICIT,
    MR_IMAGE,
    NOW,
    TWO_HEAD_ROUTES,
    analysed_study,
    closed_study,
    failed_study,
    finish_again,
    queued_study,
    result,
    save_result,
    with_organs,
)
from tests.support.routing import close_as_head


@pytest.fixture
def client(place: Place) -> Iterator[TestClient]:
    app = create_app(place.database, place.objects, ConsoleSettings())
    with TestClient(app, base_url="http://127.0.0.1") as opened:
        yield opened


def send_late_image(place: Place, study_uid: str) -> int:
    """Let an image come late to a study and close it again; return its new job."""
    late = StoredInstance(
        study_uid, f"{study_uid}.1", f"{study_uid}.1.9", MR_IMAGE, EXPLICIT, "MR", "9" * 64, "9" * 64, 1
    )
    origin = Origin("MODALITY", None)
    with place.database.write() as session:
        registering.register_instance(session, late, StudyFacts(), origin=origin, now=NOW)
    with place.database.write() as session:
        job_id = close_as_head(session, 1, quiet_seconds=0, now=utc_now())
    assert job_id is not None
    return job_id


def test_a_study_that_no_route_wants_is_set_aside_quietly(place: Place, client: TestClient) -> None:
    failed_study(place.database, 1)
    closed_study(place.database, 2, body_part="KNEE")
    page = client.get("/").text
    waiting, _, aside = page.partition('id="set-aside"')
    assert "1 study that no route wants" in aside
    assert "not_applicable" not in waiting
    assert "not applicable" in aside
    assert "wanted head, found lower-limb" in aside
    study = client.get("/studies/2").text
    assert "No analysis was begun for this study. That is no failure" in study
    assert "wanted head, found lower-limb" in study
    assert 'class="alert"' not in study


def test_many_studies_that_no_route_wants_crowd_out_none_that_waits(place: Place, client: TestClient) -> None:
    queued_study(place.database, 1)
    for number in range(2, 6):
        closed_study(place.database, number, body_part="KNEE")
    from console.views import Views

    views = Views(place.database, place.objects)
    assert [entry.id for entry in views.waiting(limit=2)] == [1]
    assert len(views.not_applicable(limit=2)) == 2
    assert 'id="waiting"' in client.get("/").text


def test_each_route_has_a_block_of_its_own_on_the_study_page(place: Place, client: TestClient) -> None:
    closed = closed_study(place.database, routes=TWO_HEAD_ROUTES)
    for job_id, priority in zip(closed.job_ids, (Priority.ROUTINE, Priority.STAT), strict=True):
        found = result(place.objects, job_id, priority=priority)
        save_result(place.database, place.objects, job_id, found, number=job_id)
    page = client.get("/studies/1").text
    assert page.index("Findings of route tumour") < page.index("Findings of route bleeding")
    worklist = client.get("/").text
    for wanted in ("bleeding: Lesion, 12.5 ml", "tumour: Lesion, 12.5 ml", "STAT"):
        assert wanted in " ".join(worklist.replace("\n", " ").split())
    detail = client.get("/api/studies/1").json()
    assert [one["route"] for one in detail["results"]] == ["tumour", "bleeding"]
    assert detail["result"]["route"] == "tumour"
    assert [one["priority"] for one in detail["study"]["analyses"]] == ["ROUTINE", "STAT"]


def test_a_result_that_is_not_sent_says_so_and_why(place: Place, client: TestClient) -> None:
    closed = closed_study(place.database)
    found = replace(result(place.objects), withheld="unlike_training_data", out_of_distribution=7.0)
    save_result(place.database, place.objects, closed.job_ids[0], found)
    for path in ("/", "/studies/1"):
        assert "not sent: unlike the training data" in client.get(path).text
    assert client.get("/api/studies/1").json()["result"]["withheld"] == "unlike_training_data"


def test_a_superseded_result_is_marked_and_still_to_be_read(place: Place, client: TestClient) -> None:
    recorded = analysed_study(place.database, place.objects)
    job_id = send_late_image(place, recorded.study_instance_uid)
    finish_again(place.database, place.objects, job_id)
    page = client.get("/studies/1").text
    summary = f"Superseded: route head-mr, revision 1, job {recorded.job_id}, by job {job_id}"
    assert summary in page
    assert f"/jobs/{recorded.job_id}/overlays/{recorded.overlay}.png" in page.partition(summary)[2]
    detail = client.get("/api/studies/1").json()
    assert [(one["job_id"], one["superseded"], one["superseded_by"]) for one in detail["results"]] == [
        (job_id, False, None), (recorded.job_id, True, job_id),
    ]  # fmt: skip # reads by its lines
    assert detail["result"]["job_id"] == job_id


def test_a_route_that_nobody_serves_is_said_on_both_pages(place: Place, client: TestClient) -> None:
    queued_study(place.database)
    with place.database.write() as session:
        processes.start(session, "worker-1", "worker", now=utc_now(), serves=frozenset({Served("other", "zero-shot")}))
    assert "no_worker_for_route" in client.get("/").text
    page = client.get("/studies/1").text
    assert "no worker at work serves analyser zero-shot in pool default" in page
    assert [job["code"] for job in client.get("/api/jobs").json()] == ["no_worker_for_route"]


@pytest.mark.parametrize(
    ("extent", "shown", "hidden"),
    [(Extent.AREA, ("88.0 mm²", "31.5 mm"), " ml<"), (Extent.UNKNOWN, ("not calibrated",), "31.5 mm")],
)
def test_only_what_is_known_of_a_size_is_shown(
    place: Place, client: TestClient, extent: Extent, shown: tuple[str, ...], hidden: str
) -> None:
    closed = closed_study(place.database)
    found = result(place.objects)
    flat = replace(found.findings[0], extent=extent, area_mm2=88.0, volume_ml=0.0)
    save_result(place.database, place.objects, closed.job_ids[0], replace(found, findings=(flat,)))
    page = client.get("/studies/1").text
    for wanted in shown:
        assert wanted in page
    assert hidden not in page
    assert "12.5 ml" not in client.get("/").text


def test_the_label_of_a_whole_image_stands_without_a_size(place: Place, client: TestClient) -> None:
    closed = closed_study(place.database)
    found = result(place.objects)
    assessed = replace(
        found.findings[0], number=0, presence=Presence.ASSESSED, label="bacteria", extent=Extent.UNKNOWN, volume_ml=0.0
    )
    whole = replace(found, findings=(assessed,), label_map=None, explanation=None)
    save_result(place.database, place.objects, closed.job_ids[0], whole)
    page = client.get("/studies/1").text
    assert "bacteria 75 %" in page
    assert not re.search(r" ml<| mm<|not calibrated", page)
    assert "bacteria" in client.get("/").text


def test_the_study_page_lists_organs_and_the_organ_of_each_finding(place: Place, client: TestClient) -> None:
    closed = closed_study(place.database)
    save_result(place.database, place.objects, closed.job_ids[0], with_organs(result(place.objects)))
    page = client.get("/studies/1").text
    assert "2 organs" in page
    lesions, _, organs = page.partition('id="structures"')
    assert "Kidney, left" in lesions
    assert re.search(r"Kidney, left</td>.*?kidney_left.*?180.2\d? ml.*?>1</td>", organs, re.DOTALL)
    assert re.search(r"Kidney, right</td>.*?165.5\d? ml.*?>.</td>", organs, re.DOTALL)
    result_form = client.get("/api/studies/1").json()["result"]
    (finding,) = result_form["findings"]
    assert (finding["site"], finding["site_code"], finding["laterality"]) == ("Kidney", "64033007", "Left")
    left, right = result_form["structures"]
    assert (left["number"], left["organ"], left["laterality"], left["lesions"]) == (2, "Kidney", "Left", [1])
    assert (right["name"], right["code"], right["volume_ml"], right["tracking_uid"]) == (
        "kidney_right",
        "64033007",
        165.5,
        "2.25.79",
    )


def test_a_model_of_organs_alone_is_not_shown_as_having_found_nothing(place: Place, client: TestClient) -> None:
    closed = closed_study(place.database)
    organs = replace(with_organs(replace(result(place.objects), findings=())), label_map=None, explanation=None)
    save_result(place.database, place.objects, closed.job_ids[0], organs)
    page, worklist_page = client.get("/studies/1").text, client.get("/").text
    assert "it says nothing of lesions" in page
    assert "Kidney, right" in page
    assert "lesions not looked for" in worklist_page
    assert "nothing found" not in page + worklist_page
    study = client.get("/api/studies/1").json()
    assert (study["result"]["findings"], study["study"]["finding"]) == ([], None)
