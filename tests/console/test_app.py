from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient

from console.app import create_app
from console.config import ConsoleSettings
from storage import processes
from storage.arrivals import Origin, StudyFacts
from storage.database import connect, utc_now
from storage.domain import Priority
from storage.objects import ObjectStore
from tests.console.conftest import Place
from tests.support.records import PATIENT, PICTURE, analysed_study, deliver, failed_study, queued_study
from tests.support.tokens import bearer, new_token

PAGES = ("/", "/studies/1", "/audit", "/studies/999", "/nowhere", "/api/studies", "/api/audit", "/healthz")


@pytest.fixture
def client(place: Place) -> Iterator[TestClient]:
    app = create_app(place.database, place.objects, ConsoleSettings())
    with TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False) as opened:
        yield opened


@pytest.mark.parametrize("path", PAGES)
def test_every_answer_forbids_scripts_caches_and_frames(place: Place, client: TestClient, path: str) -> None:
    analysed_study(place.database, place.objects)
    headers = client.get(path).headers
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "script-src" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert headers["referrer-policy"] == "same-origin"


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "localhost.evil.example:8104"])
def test_a_host_name_that_is_not_ours_is_refused(client: TestClient, host: str) -> None:
    assert client.get("/", headers={"Host": host}).status_code == 400


@pytest.mark.parametrize("host", ["127.0.0.1:8104", "localhost", "localhost:9", "[::1]:8104"])
def test_loopback_names_are_ours(client: TestClient, host: str) -> None:
    assert client.get("/", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_what_is_for_reading_cannot_be_changed_with_a_token_either(
    place: Place, client: TestClient, method: str
) -> None:
    analysed_study(place.database, place.objects)
    signed = bearer(new_token(place.database))
    for path in ("/", "/api/studies", "/api/studies/1", "/api/jobs/1", "/audit"):
        assert client.request(method, path, headers=signed).status_code == 405
        assert client.request(method, path).status_code == 401


def test_the_worklist_page_shows_studies_in_reading_order(place: Place, client: TestClient) -> None:
    analysed_study(place.database, place.objects, 1, priority=Priority.ROUTINE)
    analysed_study(place.database, place.objects, 2, priority=Priority.STAT)
    page = client.get("/").text
    assert page.index("STAT") < page.index("ROUTINE")
    assert "12.5 ml" in page
    assert PATIENT in page


def test_a_study_that_failed_or_waits_is_not_hidden(place: Place, client: TestClient) -> None:
    failed_study(place.database, 1)
    queued_study(place.database, 2)
    page = client.get("/").text
    assert "Without a result" in page
    assert "no_usable_series" in page
    assert "queued" in page


def test_the_study_page_tells_the_whole_story(place: Place, client: TestClient) -> None:
    recorded = analysed_study(place.database, place.objects)
    deliver(place.database)
    page = client.get("/studies/1").text
    for wanted in (
        recorded.study_instance_uid,
        "tumour-like",
        "31.5 mm",
        "localizer: 3 images",
        "by rule",
        "diffusion 1.0",
        "2.25.9010",
        "0x0000",
        "job:succeeded",
        f"/jobs/{recorded.job_id}/overlays/{recorded.overlay}.png",
    ):
        assert wanted in page


def test_a_failed_study_says_why(place: Place, client: TestClient) -> None:
    failed_study(place.database)
    page = client.get("/studies/1").text
    assert "no_usable_series" in page
    assert "every series was left out" in page


def test_a_picture_is_served_only_to_the_job_that_names_it(place: Place, client: TestClient) -> None:
    first = analysed_study(place.database, place.objects, 1)
    second = analysed_study(place.database, place.objects, 2)
    served = client.get(f"/jobs/{first.job_id}/overlays/{first.overlay}.png")
    assert served.status_code == 200
    assert served.headers["content-type"] == "image/png"
    assert served.content.startswith(PICTURE)
    stored = place.objects.put(b"a received image, which is nobody's picture")
    for job_id, digest in ((first.job_id, second.overlay), (first.job_id, stored), (99, first.overlay)):
        assert client.get(f"/jobs/{job_id}/overlays/{digest}.png").status_code == 404
    assert client.get(f"/jobs/{first.job_id}/overlays/..%2f..%2fetc%2fpasswd.png").status_code == 404


def test_what_a_sender_wrote_is_shown_as_text_and_never_as_markup(place: Place, client: TestClient) -> None:
    from storage import registering
    from storage.domain import StoredInstance
    from tests.support.records import EXPLICIT, MR_IMAGE, NOW

    hostile = StudyFacts("<script>1</script>", '"><img>', "20260301", "<b>bold</b>")
    instance = StoredInstance("2.25.6", "2.25.6.1", "2.25.6.1.1", MR_IMAGE, EXPLICIT, "MR", "f" * 64, "f" * 64, 1)
    with place.database.write() as session:
        registering.register_instance(session, instance, hostile, origin=Origin("<i>", None), now=NOW)
    for path in ("/", "/studies/1", "/audit"):
        page = client.get(path).text
        assert not re.search(r"<script|<img>|<b>|<i>", page)


def test_no_address_holds_patient_data_or_a_study_uid(place: Place, client: TestClient) -> None:
    recorded = analysed_study(place.database, place.objects)
    for path in ("/", "/studies/1", "/audit"):
        addresses = re.findall(r'(?:href|src|action)="([^"]*)"', client.get(path).text)
        assert addresses
        for address in addresses:
            assert address.startswith("/")
            assert PATIENT not in address
            assert recorded.study_instance_uid not in address


@pytest.mark.slow
def test_the_audit_page_turns_pages_backwards(place: Place, client: TestClient) -> None:
    for number in range(1, 24):
        failed_study(place.database, number)
    first = client.get("/audit").text
    (older,) = re.findall(r'rel="next" href="(/audit\?after=[^"]+)"', first)
    assert "process:" not in first
    second = client.get(older).text
    assert ">1<" in second.replace(" ", "").replace("\n", "")


def test_an_unknown_study_is_a_page_with_a_code(client: TestClient) -> None:
    answer = client.get("/studies/999")
    assert answer.status_code == 404
    assert "record_missing" in answer.text
    assert client.get("/api/studies/999").json()["code"] == "record_missing"


def test_the_api_gives_the_forms_of_the_command_line(place: Place, client: TestClient) -> None:
    recorded = analysed_study(place.database, place.objects)
    deliver(place.database)
    (study,) = client.get("/api/studies").json()
    assert (study["study_instance_uid"], study["state"], study["finding"]) == (
        recorded.study_instance_uid,
        "succeeded",
        "Lesion",
    )
    (read_next,) = client.get("/api/worklist").json()
    assert read_next == {**study, "cursor": "1~0.875~2026-03-01T12:00:00.000000Z~1"}
    (job,) = client.get("/api/jobs").json()
    assert job.keys() == {
        "id",
        "study_instance_uid",
        "revision",
        "state",
        "attempts",
        "code",
        "route",
        "pool",
        "cursor",
    }
    assert {item["kind"] for item in client.get("/api/deliveries").json()} == {"SEG", "SR"}
    detail = client.get(f"/api/studies/{study['id']}").json()
    assert detail["result"]["findings"][0]["volume_ml"] == 12.5
    assert detail["result"]["seconds"] == {"load": 0.5, "segment": 2.0}
    assert PATIENT not in client.get(f"/api/studies/{study['id']}").text
    assert client.get(f"/api/jobs/{recorded.job_id}").json()["reason"] is None


def test_the_api_pages_through_the_audit_trail(place: Place, client: TestClient) -> None:
    failed_study(place.database)
    seen: list[tuple[str, int]] = []
    after: str | None = None
    while True:
        page = client.get("/api/audit", params={"limit": 3, **({"after": after} if after else {})}).json()
        seen += [(event["at"], event["seq"]) for event in page["events"]]
        after = page["cursor"]
        if after is None:
            break
    assert seen == sorted(seen, reverse=True)
    assert len(set(seen)) == len(seen)
    assert 1 in {seq for _, seq in seen}


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=100000", "before=1", "after=x", "since=soon", "outcome=odd", "weights=x"]
)
def test_a_wrong_query_is_refused(client: TestClient, query: str) -> None:
    assert client.get(f"/api/audit?{query}").status_code == 422


def test_health_counts_the_processes_that_were_seen_lately(place: Place, client: TestClient) -> None:
    assert client.get("/healthz").json() == {
        "database": True,
        "complete": False,
        "processes": {"gateway": 0, "relay": 0, "worker": 0},
    }
    for kind in ("gateway", "relay", "worker"):
        with place.database.write() as session:
            processes.start(session, f"{kind}-1", kind, now=utc_now())
    answer = client.get("/healthz")
    assert (answer.status_code, answer.json()["complete"]) == (200, True)


def test_without_a_database_health_is_503_and_pages_say_so(tmp_path: Path) -> None:
    database = connect(f"sqlite:///{tmp_path / 'missing' / 'oncue.sqlite'}")
    app = create_app(database, ObjectStore(tmp_path), ConsoleSettings())
    with TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False) as client:
        assert client.get("/healthz").status_code == 503
        assert client.get("/").status_code == 503
        assert client.get("/api/studies").json()["code"] == "database_unavailable"
    database.dispose()


@pytest.mark.parametrize(
    ("asked", "status", "code", "named"),
    [
        ("GET /api/nothing", 404, "path_unknown", "/api/openapi.json"),
        ("GET /api", 404, "path_unknown", ""),
        ("OPTIONS /api/studies", 405, "method_not_allowed", "takes GET"),
        ("GET /api/studies/secret", 422, "request_invalid", "path study_id: "),
        ("GET /api/studies?limit=secret", 422, "request_invalid", "query limit: "),
        ("GET /api/audit?limit=-1", 422, "request_invalid", "greater than or equal to 1"),
        ("GET /api/studies/99", 404, "record_missing", ""),
    ],
)
def test_what_no_route_takes_is_answered_as_every_other_error_is(
    client: TestClient, asked: str, status: int, code: str, named: str
) -> None:
    answer = client.request(*asked.split())
    assert answer.status_code == status
    assert set(answer.json()) == {"code", "message"}
    assert answer.json()["code"] == code
    assert named in answer.json()["message"]
    assert "secret" not in answer.text
    assert answer.headers.get("Allow") == ("GET" if status == 405 else None)


@pytest.mark.parametrize(("path", "status"), [("/nothing", 404), ("/studies/secret", 422), ("/static/nothing", 404)])
def test_what_no_page_takes_is_answered_by_a_page(client: TestClient, path: str, status: int) -> None:
    answer = client.get(path)
    assert answer.status_code == status
    assert answer.headers["Content-Type"].startswith("text/html")
    assert ("path_unknown" if status == 404 else "request_invalid") in answer.text
    assert "secret" not in answer.text.replace(quote(path, safe=""), "")


def test_the_openapi_document_describes_every_refusal(client: TestClient) -> None:
    document = client.get("/api/openapi.json").json()
    assert "HTTPValidationError" not in document["components"]["schemas"]
    for methods in document["paths"].values():
        for operation in methods.values():
            schema = operation["responses"]["4XX"]["content"]["application/json"]["schema"]
            assert schema == {"$ref": "#/components/schemas/ErrorForm"}


def test_the_openapi_document_describes_every_json_answer(client: TestClient) -> None:
    paths = client.get("/api/openapi.json").json()["paths"]
    answers = {
        (path, method): response.get("content", {}).get("application/json", {}).get("schema")
        for path, methods in paths.items()
        for method, operation in methods.items()
        for status, response in operation["responses"].items()
        if status.startswith("2")
    }
    without_json = {("/api/studies/{study_id}/parametric-map", "get")}
    of_the_api = {route for route in answers if not route[0].startswith("/dicom-web")}  # the rest is DICOM JSON
    assert {route for route in of_the_api if not answers[route]} == without_json
    assert ("/healthz", "get") in answers
