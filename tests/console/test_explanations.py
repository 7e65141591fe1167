"""What a result rests on, as the pages, the API and the command line show it, and the map that can be asked for."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest
from fastapi.testclient import TestClient
from pydicom.uid import ParametricMapStorage

from console.app import create_app
from console.config import ConsoleSettings
from storage import delivery_lists
from storage.database import utc_now
from storage.domain import Priority, TriageDecision
from storage.explanations import TILES, ShownTile
from storage.triage import policies
from storage.triage.policies import Change
from storage.triage.policy_file import load_policy, parse_policy
from tests.console.conftest import Place
from tests.support.commands import oncue
from tests.support.readers import iod_errors
from tests.support.records import (
    NOW,
    PANEL,
    PATIENT,
    analysed_study,
    deliver,
    explanation,
    queued_study,
    result,
    save_result,
    written_study,
)
from tests.support.sources import LAYOUTS, store_study
from tests.support.tokens import bearer, new_token

PEER = "PACS@127.0.0.1:104"


@pytest.fixture
def client(place: Place) -> Iterator[TestClient]:
    app = create_app(place.database, place.objects, ConsoleSettings(), destinations=(PEER,))
    signed = bearer(new_token(place.database))
    with TestClient(app, base_url="http://127.0.0.1", headers=signed, raise_server_exceptions=False) as opened:
        yield opened


@pytest.fixture
def mapped(place: Place) -> Place:
    """Return a place whose study 1 has a result on real image headers, with an attention map."""
    study = store_study(LAYOUTS[0], place.objects)
    written_study(place.database, study.explained(place.objects), place.objects)
    return place


def _tags(place: Place) -> list[str]:
    listed = oncue("audit", "list", "--state", place.state, "--json").json
    return [event["tag"] for event in listed if event["tag"] != "audit:queried"]


def test_the_study_page_shows_a_panel_for_each_finding_with_its_numbers(place: Place, client: TestClient) -> None:
    recorded = analysed_study(place.database, place.objects)
    page = client.get("/studies/1").text
    (address,) = set(re.findall(r'src="(/jobs/\d+/panels/[0-9a-f]{64}\.png)"', page))
    for words in ("attention", "pseudo-healthy image", "residual", "mask", "slice 1", ">0.75<", ">0.12<"):
        assert words in page
    picture = client.get(address)
    assert picture.headers["content-type"] == "image/png"
    assert picture.content.startswith(PANEL)
    assert client.get(f"/jobs/{recorded.job_id + 1}/panels/{recorded.panel}.png").status_code == 404


def test_the_panel_says_of_each_picture_whether_it_took_part_in_the_decision(place: Place, client: TestClient) -> None:
    kept = explanation(place.objects, place.objects.put(PANEL))
    decided = (True, True, False, False, None)
    tiles = tuple(ShownTile(shown.tile, decides) for shown, decides in zip(TILES, decided, strict=True))
    panels = tuple(replace(panel, tiles=tiles) for panel in kept.panels)
    analysis = replace(result(place.objects), explanation=replace(kept, panels=panels))
    save_result(place.database, place.objects, queued_study(place.database).job_id, analysis)
    (words,) = re.findall(r'<div class="tiles[^>]*>(.*?)</div>', client.get("/studies/1").text, re.DOTALL)
    assert re.findall(r"<span>(.*?)</span>", words) == [
        "image<br>decides",
        "attention<br>decides",
        "pseudo-healthy image<br>for comparison only",
        "residual<br>for comparison only",
        "mask",
    ]
    (panel,) = client.get("/api/studies/1").json()["result"]["panels"]
    assert [tile["decides"] for tile in panel["tiles"]] == list(decided)


def test_a_study_without_a_finding_shows_no_panel(place: Place, client: TestClient) -> None:
    analysed_study(place.database, place.objects, present=False)
    assert "Why it was marked" not in client.get("/studies/1").text
    assert client.get("/api/studies/1").json()["result"]["panels"] == []


def test_the_api_gives_panels_with_addresses_and_numbers(place: Place, client: TestClient) -> None:
    analysed_study(place.database, place.objects)
    (panel,) = client.get("/api/studies/1").json()["result"]["panels"]
    assert (panel["number"], panel["slice_index"], panel["attention_inside"]) == (1, 0, 0.75)
    assert client.get(panel["picture"]).content.startswith(PANEL)


def test_a_model_without_a_measure_of_likeness_claims_none(place: Place, client: TestClient) -> None:
    analysed_study(place.database, place.objects, out_of_distribution=None)
    assert "not measured by this model" in client.get("/studies/1").text
    result = client.get("/api/studies/1").json()["result"]
    assert (result["out_of_distribution"], result["unlike_training"]) == (None, False)
    shown = oncue("studies", "show", 1, "--state", place.state).out
    assert "not measured by this model" in shown
    assert "like the training data (score" not in shown


@pytest.mark.parametrize(("score", "unlike"), [(0.0, False), (1.5, True)])
def test_an_input_unlike_the_training_data_is_flagged_wherever_the_study_is_shown(
    place: Place, client: TestClient, score: float, unlike: bool
) -> None:
    analysed_study(place.database, place.objects, out_of_distribution=score)
    assert ('id="unlike-training"' in client.get("/studies/1").text) is unlike
    result = client.get("/api/studies/1").json()["result"]
    assert (result["out_of_distribution"], result["unlike_training"]) == (score, unlike)
    (shown,) = oncue("studies", "show", 1, "--state", place.state, "--json").json
    assert (shown["result"]["out_of_distribution"], shown["result"]["unlike_training"]) == (score, unlike)
    assert ("unlike the training data" in oncue("studies", "show", 1, "--state", place.state).out) is unlike
    (event,) = oncue("audit", "list", "--state", place.state, "--json", "--tag", "study:analysed").json
    assert event["details"]["out_of_distribution"] == score


def test_a_result_names_its_policy_and_what_those_on_trial_said(place: Place, client: TestClient) -> None:
    night = parse_policy(b'[default]\nname = "quiet"\npriority = "LOW"\n', name="night.toml")
    with place.database.write() as session:
        policies.try_beside(session, night, Change("Dr. Jones", "trial", NOW))
        policies.keep_configured(session, load_policy(), actor="worker-1", now=NOW)
    analysis = result(place.objects)
    decision = replace(analysis.decision, policy_sha256=load_policy().sha256)
    tried = TriageDecision(Priority.LOW, "quiet", night.sha256, "{}")
    analysis = replace(analysis, decision=decision, shadows=(tried,))
    save_result(place.database, place.objects, queued_study(place.database).job_id, analysis)
    page = " ".join(client.get("/studies/1").text.split())
    assert f"<dt>Policy</dt><dd>shipped <code>{load_policy().sha256[:12]}" in page
    assert f"<dt>On trial</dt><dd>LOW by rule “quiet” of night <code>{night.sha256[:12]}" in page
    said = client.get("/api/studies/1").json()["result"]
    assert said["policy"] == "shipped"
    assert said["shadows"] == [{"policy": "night", "policy_sha256": night.sha256, "priority": "LOW", "rule": "quiet"}]
    shown = oncue("studies", "show", 1, "--state", place.state).out
    assert f"LOW by rule «quiet» of policy night {night.sha256[:12]}" in shown


@pytest.mark.slow
def test_a_study_is_shown_by_number_or_uid_and_an_unknown_one_is_a_clear_error(place: Place) -> None:
    recorded = analysed_study(place.database, place.objects)
    by_number = oncue("studies", "show", 1, "--state", place.state, "--json").json
    by_uid = oncue("studies", "show", recorded.study_instance_uid, "--state", place.state, "--json").json
    assert by_number[0]["study"] == by_uid[0]["study"]
    assert by_uid[0]["events"][:-1] == by_number[0]["events"]  # the first reading is an event of the second
    assert PATIENT not in str(by_number)
    for unknown in ("77", "1.2.3"):
        assert oncue("studies", "show", unknown, "--state", place.state).err.startswith("error [record_missing]")
    assert "Lesion 1" in oncue("studies", "show", 1, "--state", place.state).out


def test_explain_writes_a_picture_for_each_finding_and_the_numbers(place: Place, tmp_path: Path) -> None:
    recorded = analysed_study(place.database, place.objects)
    out = tmp_path / "explanation"
    printed = oncue("studies", "explain", 1, "--state", place.state, "--out", out, "--json").json
    written = json.loads((out / "explanation.json").read_text())
    assert written == printed
    assert written["study_instance_uid"] == recorded.study_instance_uid
    assert written["tiles"] == ["image", "attention", "pseudo-healthy image", "residual", "mask"]
    (finding,) = written["findings"]
    assert finding["panel"]["picture"] == "finding-1.png"
    assert finding["finding"]["volume_ml"] == 12.5
    assert finding["sop_instance_uid"] == "2.25.1.1.1"
    assert (out / "finding-1.png").read_bytes().startswith(PANEL)
    assert PATIENT not in (out / "explanation.json").read_text()


def test_explain_says_what_is_missing(place: Place, tmp_path: Path) -> None:
    analysed_study(place.database, place.objects, 1, present=False)
    queued_study(place.database, 2)
    none_kept = oncue("studies", "explain", 1, "--state", place.state, "--out", tmp_path / "x")
    assert none_kept.err.startswith("error [record_missing]: this analysis kept no explanation")
    no_result = oncue("studies", "explain", 2, "--state", place.state, "--out", tmp_path / "x")
    assert no_result.err.startswith("error [record_missing]: study 2 has no result yet")
    analysed_study(place.database, place.objects, 3)
    (tmp_path / "file").touch()
    blocked = oncue("studies", "explain", 3, "--state", place.state, "--out", tmp_path / "file")
    assert blocked.err.startswith("error [configuration_error]")


@pytest.mark.peer
def test_a_parametric_map_is_written_on_request_and_goes_on_record(mapped: Place, tmp_path: Path) -> None:
    before = _tags(mapped)
    assert "object:requested" not in before
    out = tmp_path / "map.dcm"
    assert oncue("studies", "parametric-map", 1, "--state", mapped.state, "--out", out).code == 0
    assert pydicom.dcmread(out).SOPClassUID == ParametricMapStorage
    assert iod_errors(out) == []
    assert _tags(mapped)[:2] == ["object:requested", "object:written"]
    first = out.read_bytes()
    assert oncue("studies", "parametric-map", 1, "--state", mapped.state, "--out", out).code == 0
    assert out.read_bytes() == first
    assert _tags(mapped)[:3] == ["object:requested", "object:requested", "object:written"]
    assert oncue("deliveries", "list", "--state", mapped.state, "--json").json == []


@pytest.mark.slow
def test_a_parametric_map_is_sent_through_the_deliveries_and_again_on_request(mapped: Place) -> None:
    def send() -> str:
        (form,) = oncue("studies", "parametric-map", 1, "--state", mapped.state, "--send", PEER, "--json").json
        assert (form["kind"], form["destination"]) == ("PM", PEER)
        return str(form["state"])

    assert [send(), send()] == ["pending", "pending"]
    deliver(mapped.database, now=utc_now())
    assert oncue("deliveries", "list", "--state", mapped.state, "--json").json[0]["state"] == "sent"
    assert send() == "pending"
    with mapped.database.read() as session:
        (only,) = delivery_lists.listed(session)
    assert only.attempts == 1
    assert _tags(mapped)[:2] == ["delivery:retried", "object:requested"]


@pytest.mark.slow
def test_an_ae_title_stands_for_the_configured_destination_of_that_name(
    mapped: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONCUE_GATEWAY_DESTINATIONS", PEER)
    (form,) = oncue("studies", "parametric-map", 1, "--state", mapped.state, "--send", "PACS", "--json").json
    assert form["destination"] == PEER
    unknown = oncue("studies", "parametric-map", 1, "--state", mapped.state, "--send", "NOBODY")
    assert unknown.err.startswith("error [record_missing]")


@pytest.mark.parametrize("words", [(), ("--out", "x.dcm", "--send", PEER)])
def test_a_map_is_either_written_or_sent(mapped: Place, words: tuple[str, ...]) -> None:
    assert oncue("studies", "parametric-map", 1, "--state", mapped.state, *words).code == 2


def test_a_result_without_an_attention_map_has_no_parametric_map(place: Place, client: TestClient) -> None:
    analysed_study(place.database, place.objects, present=False)
    refused = oncue("studies", "parametric-map", 1, "--state", place.state, "--send", PEER)
    assert refused.err.startswith("error [record_missing]")
    assert client.get("/api/studies/1/parametric-map").status_code == 404


@pytest.mark.usefixtures("mapped")
def test_the_api_gives_the_map_and_sends_it_to_configured_destinations_only(client: TestClient, tmp_path: Path) -> None:
    answer = client.get("/api/studies/1/parametric-map")
    assert answer.headers["content-type"] == "application/dicom"
    (tmp_path / "map.dcm").write_bytes(answer.content)
    assert pydicom.dcmread(tmp_path / "map.dcm").Modality == "OT"
    sent = client.post("/api/studies/1/parametric-map/deliveries", json={"destination": "PACS"})
    assert (sent.status_code, sent.json()["destination"], sent.json()["state"]) == (202, PEER, "pending")
    elsewhere = client.post("/api/studies/1/parametric-map/deliveries", json={"destination": "X@10.0.0.1:104"})
    assert (elsewhere.status_code, elsewhere.json()["code"]) == (404, "record_missing")


def test_a_form_of_another_site_cannot_have_a_map_sent(mapped: Place, client: TestClient) -> None:
    path = "/api/studies/1/parametric-map/deliveries"
    for kind in ("text/plain", "application/x-www-form-urlencoded"):
        answer = client.post(path, content=b'{"destination": "PACS"}', headers={"Content-Type": kind})
        assert answer.status_code == 422
    assert oncue("deliveries", "list", "--state", mapped.state, "--json").json == []
