"""Workitems over HTTP, as a DICOMweb client asks for them; their data sets are read by pydicom."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response
from pydicom.dataset import Dataset

from console.app import create_app
from console.config import ConsoleSettings
from storage import audit
from tests.console.conftest import Place
from tests.support.records import analysed_study
from tests.support.tokens import bearer, new_token
from tests.support.workitems import lock, new_workitem, performed

_DICOM_JSON = "application/dicom+json"
_WORKITEMS = "/dicom-web/workitems"


class Client:
    """A client of UPS-RS with a token."""

    def __init__(self, opened: TestClient, token: str) -> None:
        self.opened = opened
        self.signed = bearer(token)

    def send(self, method: str, path: str, dataset: Dataset | None = None, **headers: str) -> Response:
        body = b"" if dataset is None else json.dumps([dataset.to_json_dict()]).encode()
        given = {"Content-Type": _DICOM_JSON, **self.signed, **headers}
        answer: Response = self.opened.request(method, _WORKITEMS + path, content=body, headers=given)
        return answer

    def create(self, dataset: Dataset, uid: str = "1.2.3.4") -> Response:
        return self.send("POST", f"?workitem={uid}", dataset)

    def move(self, uid: str, state: str, transaction_uid: str) -> Response:
        asked = Dataset()
        asked.ProcedureStepState, asked.TransactionUID = state, transaction_uid
        return self.send("PUT", f"/{uid}/state", asked)

    def found(self, query: str) -> list[Dataset]:
        answer = self.opened.get(f"{_WORKITEMS}?{query}", headers={"Accept": _DICOM_JSON})
        return [Dataset.from_json(one) for one in answer.json()] if answer.status_code == 200 else []


@pytest.fixture
def client(place: Place) -> Iterator[Client]:
    app = create_app(place.database, place.objects, ConsoleSettings())
    with TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False) as opened:
        yield Client(opened, new_token(place.database))


def test_a_workitem_is_created_found_claimed_performed_and_completed(place: Place, client: Client) -> None:
    made = client.create(new_workitem())
    assert (made.status_code, made.headers["Location"]) == (201, f"{_WORKITEMS}/1.2.3.4")
    (found,) = client.found("PatientID=P-1&ProcedureStepState=SCHEDULED&00741202=cardiology")
    assert (found.PatientName, found.ProcedureStepLabel) == ("Müller^Jürgen", "Read the heart")
    mine = lock()
    assert client.move("1.2.3.4", "IN PROGRESS", mine).status_code == 200
    assert client.send("POST", f"/1.2.3.4?transaction-uid={mine}", performed()).status_code == 200
    assert client.move("1.2.3.4", "COMPLETED", mine).status_code == 200
    again = client.move("1.2.3.4", "COMPLETED", mine)
    assert again.status_code == 200
    assert again.headers["Warning"] == "299 oncue: The UPS is already in the requested state of COMPLETED"
    answer = client.opened.get(f"{_WORKITEMS}/1.2.3.4")
    assert answer.headers["Content-Type"] == _DICOM_JSON
    (got,) = (Dataset.from_json(one) for one in answer.json())
    assert (got.ProcedureStepState, "TransactionUID" in got) == ("COMPLETED", False)
    with place.database.read() as session:
        events = [event for event in audit.history(session) if event.tag.startswith("workitem:")]
    assert {event.actor for event in events} == {"web/anna"}


def test_the_rules_are_those_of_the_protocol_with_the_statuses_of_http(client: Client) -> None:
    client.create(new_workitem())
    mine = lock()
    assert client.create(new_workitem()).status_code == 409
    assert client.move("1.2.3.4", "COMPLETED", mine).status_code == 409
    assert client.move("1.2.3.4", "IN PROGRESS", mine).status_code == 200
    refused = client.move("1.2.3.4", "IN PROGRESS", lock())
    assert (refused.status_code, refused.json()["code"]) == (400, "workitem_transaction_uid_not_correct")
    assert refused.headers["Warning"].startswith("299 oncue: ")
    assert client.move("1.2.3.4", "COMPLETED", mine).json()["code"] == "workitem_final_state_requirements_not_met"
    assert client.send("POST", "/1.2.3.4/cancelrequest").status_code == 409
    assert client.move("1.2.3.9", "IN PROGRESS", mine).status_code == 404
    assert client.opened.get(f"{_WORKITEMS}/1.2.3.9").status_code == 404
    broken = new_workitem()
    del broken.ProcedureStepLabel
    assert client.create(broken, "1.2.3.5").status_code == 400


def test_a_request_to_cancel_may_say_why(client: Client) -> None:
    client.create(new_workitem())
    why = Dataset()
    why.ReasonForCancellation = "ordered twice"
    assert client.send("POST", "/1.2.3.4/cancelrequest", why).status_code == 202
    again = client.send("POST", "/1.2.3.4/cancelrequest")
    assert (again.status_code, "CANCELED" in again.headers["Warning"]) == (202, True)
    (got,) = (Dataset.from_json(one) for one in client.opened.get(f"{_WORKITEMS}/1.2.3.4").json())
    assert got.ProcedureStepProgressInformationSequence[0].ReasonForCancellation == "ordered twice"


@pytest.mark.parametrize(
    ("body", "media_type", "status", "code"),
    [
        (b"<NativeDicomModel/>", "application/dicom+xml", 415, "media_type_unsupported"),
        (b"", "", 415, "media_type_unsupported"),
        (b"{", _DICOM_JSON, 400, "body_invalid"),
        (b"[" * 100_000, _DICOM_JSON, 400, "body_invalid"),
        (b"[]", _DICOM_JSON, 400, "body_invalid"),
        (b'["secret"]', _DICOM_JSON, 400, "body_invalid"),
        (b'{"00741204": {"vr": "US", "Value": ["secret"]}}', _DICOM_JSON, 400, "body_invalid"),
        (b'{"00741204": {"vr": "LO", "Value": [{"x": "secret"}]}}', _DICOM_JSON, 400, "body_invalid"),
        (b'{"PatientName": {"vr": "PN"}}', _DICOM_JSON, 400, "body_invalid"),
        (b'{"00741204": {"vr": "LO", "Value": ["secret"]}}', _DICOM_JSON, 400, "workitem_not_created_as_scheduled"),
        (b" " * (1 << 20) + b"[]", _DICOM_JSON, 413, "body_too_large"),
    ],
)
def test_a_body_that_is_no_workitem_is_refused_without_its_values(
    client: Client, body: bytes, media_type: str, status: int, code: str
) -> None:
    headers = {"Content-Type": media_type, **client.signed}
    answer = client.opened.post(_WORKITEMS, content=body, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert "secret" not in answer.text


def test_who_takes_no_json_gets_none(client: Client) -> None:
    answer = client.opened.get(_WORKITEMS, headers={"Accept": "application/dicom+xml"})
    assert (answer.status_code, answer.json()["code"]) == (406, "not_acceptable")


def test_reading_is_open_on_this_machine_and_changing_needs_a_token(client: Client) -> None:
    client.signed = {}
    assert client.opened.get(_WORKITEMS).status_code == 204
    assert client.create(new_workitem()).status_code == 401
    assert client.move("1.2.3.4", "IN PROGRESS", lock()).status_code == 401


def test_a_page_of_a_search_says_that_there_is_more(client: Client) -> None:
    for number, priority in enumerate(("LOW", "HIGH", "MEDIUM"), start=1):
        client.create(new_workitem(priority=priority), f"1.2.3.{number}")
    answer = client.opened.get(f"{_WORKITEMS}?limit=2")
    assert [one["00741200"]["Value"] for one in answer.json()] == [["HIGH"], ["MEDIUM"]]
    assert "additional results" in answer.headers["Warning"]
    rest = client.opened.get(f"{_WORKITEMS}?limit=2&offset=2")
    assert [one["00741200"]["Value"] for one in rest.json()] == [["LOW"]]
    assert "Warning" not in rest.headers


@pytest.mark.parametrize("query", ["NoSuchKeyword=secret", "limit=secret", "00404005=secret"])
def test_a_search_that_is_none_is_refused_without_its_values(client: Client, query: str) -> None:
    answer = client.opened.get(f"{_WORKITEMS}?{query}")
    assert answer.status_code in (400, 422)
    assert "secret" not in answer.text


def test_our_own_workitem_tells_its_images_and_the_order_of_the_study(place: Place, client: Client) -> None:
    analysed_study(place.database, place.objects)
    query = "ReferencedRequestSequence.AccessionNumber=ACC1"
    (found,) = client.found(query)
    assert found.ScheduledProcedureStepPriority == "HIGH"
    assert "Reading priority HIGH" in found.CommentsOnTheScheduledProcedureStep
    assert not found.InputInformationSequence
    (found,) = client.found(f"{query}&includefield=InputInformationSequence")
    assert len(found.InputInformationSequence[0].ReferencedSOPSequence) == 2
    assert client.found("ReferencedRequestSequence.AccessionNumber=ACC2") == []


def test_a_study_that_is_read_on_the_page_needs_no_reading_any_more(place: Place, client: Client) -> None:
    analysed_study(place.database, place.objects)
    marked: Any = client.opened.post("/api/studies/1/read", json={"by": "Dr. Jones"}, headers=client.signed)
    assert marked.status_code == 200
    (found,) = client.found("StudyInstanceUID=2.25.1001")
    assert found.ProcedureStepState == "COMPLETED"
    client.opened.delete("/api/studies/1/read", headers=client.signed)
    states = {one.ProcedureStepState for one in client.found("StudyInstanceUID=2.25.1001")}
    assert states == {"COMPLETED", "SCHEDULED"}
