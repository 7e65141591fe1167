"""QIDO-RS as dicomweb-client asks it, and Orthanc's DICOMweb plugin, which then retrieves what it found."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from dicomweb_client.api import DICOMwebClient

from console.app import create_app
from console.config import ConsoleSettings
from storage import audit
from storage.database import Database, connect
from storage.objects import ObjectStore
from tests.support.held import hold, image, read_headers
from tests.support.peers import orthanc
from tests.support.required import missing_peer
from tests.support.served_console import serving

_STUDY, _OTHER = (str(image(name).StudyInstanceUID) for name in ("one", "other"))
_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
_JSON = "application/dicom+json"


@dataclass(frozen=True)
class Served:
    """A console over two studies."""

    address: str
    database: Database

    @property
    def base(self) -> str:
        return f"{self.address}/dicom-web"

    @property
    def client(self) -> DICOMwebClient:
        return DICOMwebClient(self.base)

    def get(self, path: str, accept: str = _JSON) -> requests.Response:
        return requests.get(f"{self.base}{path}", headers={"Accept": accept}, timeout=30)

    def found(self, path: str) -> list[Any]:
        answer = self.get(path)
        assert answer.status_code in (200, 204), answer.text
        return list(answer.json()) if answer.content else []


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Iterator[Served]:
    state = tmp_path_factory.mktemp("searched")
    shutil.copy(sqlite_template, state / "oncue.sqlite")
    database, objects = connect(f"sqlite:///{state / 'oncue.sqlite'}"), ObjectStore(state / "objects")
    objects.prepare()
    of_mueller = {"PatientName": "Müller^Jürgen", "PatientID": "P-1", "StudyDate": "20260301", "AccessionNumber": "A1"}
    hold(database, objects, *(image("one", number, **of_mueller) for number in range(1, 4)))
    hold(database, objects, image("other", 1, PatientName="Doe^Jane", PatientID="P-2", StudyDate="20250101"))
    read_headers(database, objects)
    with serving(create_app(database, objects, ConsoleSettings())) as address:
        yield Served(address, database)
    database.dispose()


def test_a_client_finds_studies_series_and_instances_and_retrieves_them(served: Served) -> None:
    (study,) = served.client.search_for_studies(search_filters={"PatientID": "P-1"})
    assert study["00100010"]["Value"] == [{"Alphabetic": "Müller^Jürgen"}]
    assert (study["00201208"]["Value"], study["00080061"]["Value"]) == ([3], ["CT"])
    assert study["00081190"]["Value"] == [f"{served.base}/studies/{_STUDY}"]
    (series,) = served.client.search_for_series(_STUDY)
    instances = served.client.search_for_instances(_STUDY, series["0020000E"]["Value"][0])
    assert sorted(one["00200013"]["Value"][0] for one in instances) == [1, 2, 3]
    for one in instances:
        (where,) = one["00081190"]["Value"]
        answer = requests.get(where, headers={"Accept": "application/dicom"}, timeout=30)
        assert answer.content[128:132] == b"DICM"
    assert len(served.client.search_for_instances(_STUDY)) == 3


@pytest.mark.parametrize(
    ("query", "patients"),
    [
        ("PatientName=m%C3%BCller*", ["P-1"]),
        ("00100010=DOE*", ["P-2"]),
        ("StudyDate=20260101-", ["P-1"]),
        (f"StudyInstanceUID={_STUDY},{_OTHER}", ["P-1", "P-2"]),
        ("ModalitiesInStudy=CT&AccessionNumber=A1", ["P-1"]),
        ("PatientID=P-9", []),
        ("PatientID=&includefield=all", ["P-1", "P-2"]),
        ("includefield=00081030,PatientSex", ["P-1", "P-2"]),
    ],
)
def test_keys_are_keywords_or_tags(served: Served, query: str, patients: list[str]) -> None:
    assert sorted(one["00100020"]["Value"][0] for one in served.found(f"/studies?{query}")) == patients


def test_nothing_found_is_said_without_a_body(served: Served) -> None:
    answer = served.get("/studies?PatientID=P-9")
    assert (answer.status_code, answer.content) == (204, b"")
    assert served.client.search_for_studies(search_filters={"PatientID": "P-9"}) == []


def test_all_series_and_instances_say_their_study(served: Served) -> None:
    assert {one["00100020"]["Value"][0] for one in served.found("/series")} == {"P-1", "P-2"}
    found = served.found("/instances?Modality=CT")
    assert {one["0020000D"]["Value"][0] for one in found} == {_STUDY, _OTHER}
    assert all("/instances/" in one["00081190"]["Value"][0] for one in found)


def test_a_page_says_that_there_is_more(served: Served) -> None:
    first = served.get("/instances?limit=3")
    assert (len(first.json()), "additional results" in first.headers["Warning"]) == (3, True)
    rest = served.get("/instances?limit=3&offset=3")
    assert (len(rest.json()), "Warning" in rest.headers) == (1, False)


def test_names_that_sound_alike_are_not_looked_for_and_that_is_said(served: Served) -> None:
    answer = served.get("/studies?PatientName=Muller*&fuzzymatching=true")
    assert "fuzzymatching parameter is not supported" in answer.headers["Warning"]


@pytest.mark.parametrize("query", ["NoSuchKeyword=secret", "limit=secret", "StudyDate=secret", "includefield=secret"])
def test_a_search_that_is_none_is_refused_without_its_values(served: Served, query: str) -> None:
    answer = served.get(f"/studies?{query}")
    assert answer.status_code == 400
    assert "secret" not in answer.text


@pytest.mark.parametrize("path", ["*", "%00", "%3F" * 8, f"{_STUDY}%5C{_OTHER}", f"{_STUDY}/series/*"])
def test_a_path_names_one_study_and_no_pattern(served: Served, path: str) -> None:
    answer = served.get(f"/studies/{path}/instances")
    assert (answer.status_code, answer.json()["code"]) == (400, "request_invalid")


def test_answers_are_json_alone(served: Served) -> None:
    answer = served.get("/studies", 'multipart/related; type="application/dicom+xml"')
    assert (answer.status_code, answer.json()["code"]) == (406, "not_acceptable")
    assert served.get("/studies", "application/json").status_code == 200


def test_a_search_is_on_record_without_its_keys(served: Served) -> None:
    served.get("/studies?PatientName=Secret*&limit=7")
    with served.database.read() as session:
        event = audit.history(session, tag="holdings:queried", limit=1000)[-1]
    assert (json.loads(event.details)["level"], "Secret" in event.details) == ("STUDY", False)


def test_a_viewer_of_another_origin_may_read_where_the_settings_say_so(served: Served) -> None:
    viewer, stranger = "https://viewer.example.org", "https://elsewhere.example.org"
    objects = ObjectStore(Path("/nonexistent"))
    asked = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "accept"}
    settings = ConsoleSettings(dicomweb_origins=(viewer,), read_with_token=True)
    with serving(create_app(served.database, objects, settings)) as address:
        ready = requests.options(f"{address}/dicom-web/studies", headers={"Origin": viewer, **asked}, timeout=30)
        assert (ready.status_code, ready.headers["Access-Control-Allow-Origin"]) == (204, viewer)
        assert "Authorization" in ready.headers["Access-Control-Allow-Headers"]
        answer = requests.get(f"{address}/dicom-web/studies", headers={"Origin": viewer}, timeout=30)
        assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (401, viewer)
        for path, origin, method in (
            ("/dicom-web/studies", stranger, "GET"),
            ("/api/studies", viewer, "GET"),
            ("/dicom-web/studies", viewer, "POST"),
        ):
            headers = {"Origin": origin, **asked, "Access-Control-Request-Method": method}
            refused = requests.options(f"{address}{path}", headers=headers, timeout=30)
            assert "Access-Control-Allow-Origin" not in refused.headers


@pytest.mark.parametrize("origin", ["*", "https://viewer.example.org/", "viewer.example.org"])
def test_what_is_no_origin_is_no_setting(origin: str) -> None:
    with pytest.raises(ValueError, match="origin"):
        ConsoleSettings(dicomweb_origins=(origin,))


@pytest.mark.peer
@pytest.mark.slow
def test_orthanc_finds_a_study_here_and_retrieves_it(served: Served, tmp_path: Path) -> None:
    if not _PLUGIN.exists():
        missing_peer("Orthanc's DICOMweb plugin is not installed")
    servers = {"oncue": [f"{served.base}/"]}
    with orthanc(tmp_path, Plugins=[str(_PLUGIN)], DicomWeb={"Servers": servers}) as peer:
        query = {"Uri": "/studies", "HttpHeaders": {"Accept": _JSON}, "Arguments": {"PatientID": "P-1"}}
        found = json.loads(peer.rest("POST", "/dicom-web/servers/oncue/get", json.dumps(query).encode()))
        assert [one["0020000D"]["Value"] for one in found] == [[_STUDY]]
        wanted = {"Resources": [{"Study": _STUDY}], "Synchronous": True}
        peer.rest("POST", "/dicom-web/servers/oncue/retrieve", json.dumps(wanted).encode())
        assert len(peer.sop_instance_uids()) == 3
