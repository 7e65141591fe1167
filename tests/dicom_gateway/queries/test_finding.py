"""What is held, asked for by C-FIND: pynetdicom, DCMTK's findscu and Orthanc."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.association import Association

from dicom_gateway.queries.finding import PATIENT_ROOT, STUDY_ROOT
from storage import peers
from storage.database import Database, connect, utc_now
from storage.objects import ObjectStore
from storage.peers import USUAL_SERVICES, PeerEntry, Service
from tests.support.gateways import Running, running_gateway, until
from tests.support.held import hold, image, read_headers
from tests.support.peers import executable, orthanc, run
from tests.support.senders import store

pytestmark = pytest.mark.slow

_MANY = 230


@pytest.fixture(scope="module")
def running(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Run a gateway that holds 230 small studies, and two with more to look at."""
    folder = tmp_path_factory.mktemp("holdings")
    (folder / "oncue.sqlite").write_bytes(sqlite_template.read_bytes())
    database, objects = connect(f"sqlite:///{folder / 'oncue.sqlite'}"), ObjectStore(folder / "objects")
    objects.prepare()
    _admit(database, "STATION", Service.QUERY)
    _admit(database, "ORTHANC", Service.QUERY)
    _admit(database, "MODALITY")
    _fill(database, objects)
    with running_gateway(database, objects) as gateway:
        yield gateway
    database.dispose()


def _admit(database: Database, aet: str, *services: Service) -> None:
    with database.write() as session:
        entry = PeerEntry(aet.lower(), aet, services=USUAL_SERVICES | set(services))
        peers.add(session, entry, actor="test", now=utc_now())


def _fill(database: Database, objects: ObjectStore) -> None:
    many = [image(f"m{number}", PatientID=f"M{number}", PatientName="Many^One") for number in range(_MANY)]
    head = [image("head", number, SeriesNumber=2, StudyDate="20260215", StudyTime="093000") for number in (2, 1, 10)]
    chest = image("chest", PatientID="P2", PatientName="Straße^Jürgen=山田^太郎", StudyDate="20260101", Modality="CR")
    hold(database, objects, *many, *head, chest, now=utc_now())
    read_headers(database, objects)


@dataclass(frozen=True, slots=True)
class Found:
    """The statuses of a question's responses, and what came with them."""

    statuses: list[int]
    data_sets: list[Dataset]

    def said(self, keyword: str) -> list[str]:
        return [str(data_set[keyword].value) for data_set in self.data_sets]


@contextlib.contextmanager
def asking(running: Running, *, syntax: str = ExplicitVRLittleEndian, aet: str = "STATION") -> Iterator[Association]:
    entity = AE(ae_title=aet)
    for model in (PATIENT_ROOT, STUDY_ROOT):
        entity.add_requested_context(model, syntax)
    opened = entity.associate("127.0.0.1", running.port, ae_title="ONCUE")
    try:
        yield opened
    finally:
        if opened.is_established:
            opened.release()


def find(
    running: Running, level: str, *, model: str = STUDY_ROOT, syntax: str = ExplicitVRLittleEndian, **wanted: Any
) -> Found:
    identifier = Dataset()
    identifier.SpecificCharacterSet = "ISO_IR 192"
    if level:
        identifier.QueryRetrieveLevel = level
    for keyword, value in wanted.items():
        setattr(identifier, keyword, value)
    with asking(running, syntax=syntax) as opened:
        responses = list(opened.send_c_find(identifier, model))
    return Found(
        [int(status.Status) for status, _ in responses], [found for _, found in responses if found is not None]
    )


def test_a_study_is_found_with_everything_that_was_asked_for(running: Running) -> None:
    found = find(
        running,
        "STUDY",
        StudyDate="20260201-20260228",
        PatientName="",
        ModalitiesInStudy="",
        NumberOfStudyRelatedInstances="",
        StudyTime="09-10",
        InstanceAvailability="",
        StudyID="",
    )
    assert found.statuses == [0xFF00, 0x0000]
    (study,) = found.data_sets
    assert (study.PatientName, study.ModalitiesInStudy, study.NumberOfStudyRelatedInstances) == ("Größe^Zoë", "CT", 3)
    assert (study.RetrieveAETitle, study.InstanceAvailability, study.QueryRetrieveLevel) == ("ONCUE", "ONLINE", "STUDY")
    assert (study.StudyID, study.SpecificCharacterSet) == ("", "ISO_IR 192")


@pytest.mark.parametrize("name", ["strasse^jurgen", "STRA*", "Straße Jür?en", "山田*"])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_names_are_found_whatever_their_case_accents_and_separators(running: Running, name: str, syntax: str) -> None:
    found = find(running, "STUDY", syntax=syntax, PatientName=name, PatientID="")
    assert found.said("PatientID") == ["P2"]


def test_series_and_images_are_found_level_by_level(running: Running) -> None:
    (study,) = find(running, "STUDY", StudyDate="20260215").said("StudyInstanceUID")
    series = find(running, "SERIES", StudyInstanceUID=study, Modality="", NumberOfSeriesRelatedInstances="")
    assert (series.said("Modality"), series.said("NumberOfSeriesRelatedInstances")) == (["CT"], ["3"])
    images = find(
        running,
        "IMAGE",
        StudyInstanceUID=study,
        SeriesInstanceUID=series.said("SeriesInstanceUID")[0],
        InstanceNumber="",
        SOPClassUID="",
    )
    assert images.said("InstanceNumber") == ["1", "2", "10"]


def test_patients_are_found_and_their_studies_below_them(running: Running) -> None:
    patients = find(
        running, "PATIENT", model=PATIENT_ROOT, PatientID="P*", PatientName="", NumberOfPatientRelatedInstances=""
    )
    assert patients.said("PatientID") == ["P2", "PATIENT-17"]
    assert patients.said("NumberOfPatientRelatedInstances") == ["1", "3"]
    below = find(running, "STUDY", model=PATIENT_ROOT, PatientID="P2", StudyDate="")
    assert below.said("StudyDate") == ["20260101"]


def test_many_studies_are_all_found_and_each_once(running: Running) -> None:
    found = find(running, "STUDY", PatientName="many*")
    assert len(set(found.said("StudyInstanceUID"))) == len(found.data_sets) == _MANY


def test_a_key_that_is_not_matched_is_said_to_be_so(running: Running) -> None:
    found = find(running, "STUDY", StudyDate="20260215", PatientComments="urgent")
    assert found.statuses == [0xFF01, 0x0000]


@pytest.mark.parametrize(
    ("level", "model", "wanted"),
    [
        ("", STUDY_ROOT, {"PatientID": ""}),
        ("PATIENT", STUDY_ROOT, {"PatientID": ""}),
        ("SERIES", STUDY_ROOT, {"Modality": "CT"}),
        ("SERIES", STUDY_ROOT, {"StudyInstanceUID": ["1.2", "1.3"]}),
        ("IMAGE", STUDY_ROOT, {"StudyInstanceUID": "1.2"}),
        ("STUDY", PATIENT_ROOT, {"StudyDate": ""}),
        ("STUDY", PATIENT_ROOT, {"PatientID": "P*"}),
        ("STUDY", STUDY_ROOT, {"StudyDate": "20260101-20260201-20260301"}),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value")
def test_an_identifier_that_does_not_fit_is_refused(
    running: Running, level: str, model: str, wanted: dict[str, Any]
) -> None:
    assert find(running, level, model=model, **wanted).statuses == [0xA900]


def test_a_question_is_canceled_and_the_association_goes_on(running: Running) -> None:
    with asking(running) as opened:
        identifier = Dataset()
        identifier.QueryRetrieveLevel, identifier.PatientName = "STUDY", "many*"
        responses = opened.send_c_find(identifier, STUDY_ROOT, msg_id=7)
        assert next(responses)[0].Status == 0xFF00
        opened.send_c_cancel(7, query_model=STUDY_ROOT)
        statuses = [int(status.Status) for status, _ in responses]
        assert statuses[-1] == 0xFE00
        assert len(statuses) < _MANY
        identifier.PatientName = "Straße*"
        identifier.SpecificCharacterSet = "ISO_IR 192"
        assert [int(status.Status) for status, _ in opened.send_c_find(identifier, STUDY_ROOT)] == [0xFF00, 0x0000]


def test_a_peer_that_may_not_ask_gets_no_context_for_it(running: Running) -> None:
    with asking(running, aet="MODALITY") as opened:
        assert not [context for context in opened.accepted_contexts if context.abstract_syntax == STUDY_ROOT]


def test_a_question_is_one_event_without_patient_data(running: Running) -> None:
    before = len(running.events("holdings:queried"))
    find(running, "STUDY", PatientName="Straße*", PatientID="P2")
    (details,) = running.events("holdings:queried")[before:]
    assert json.loads(details) == {"answers": 1, "keys": 2, "level": "STUDY"}


def test_an_image_that_was_just_sent_is_found_by_its_header(running: Running) -> None:
    new = image("new", PatientName="Lately^Come", PatientID="NEW")
    assert store(running.port, new) == [0x0000]
    until(lambda: find(running, "STUDY", PatientName="LATELY*").data_sets != [], "the header of an image")
    found = find(running, "STUDY", PatientName="LATELY*", PatientID="", NumberOfStudyRelatedInstances="")
    assert (found.said("PatientID"), found.said("NumberOfStudyRelatedInstances")) == (["NEW"], ["1"])


@pytest.mark.peer
def test_findscu_asks_by_both_models(running: Running) -> None:
    def findscu(*wanted: str, model: str = "-S") -> str:
        options = [part for key in wanted for part in ("-k", key)]
        asked = run(
            executable("findscu"),
            "-v",
            model,
            "-aet",
            "STATION",
            "-aec",
            "ONCUE",
            *options,
            "127.0.0.1",
            str(running.port),
        )
        assert asked.returncode == 0, asked.stdout
        return asked.stdout

    assert "[M39 ]" in findscu("QueryRetrieveLevel=STUDY", "PatientID=M3?", "StudyDate=20260101-")
    assert "[P2]" in findscu("QueryRetrieveLevel=PATIENT", "PatientID=P?", "PatientName", model="-P")


@pytest.mark.peer
def test_findscu_cancels_after_some_responses(running: Running) -> None:
    command = (executable("findscu"), "-v", "-S", "-aet", "STATION", "-aec", "ONCUE", "--cancel", "3")
    asked = run(*command, "-k", "QueryRetrieveLevel=STUDY", "-k", "PatientID=M*", "127.0.0.1", str(running.port))
    assert asked.returncode == 0, asked.stdout
    assert "Cancel" in asked.stdout
    assert asked.stdout.count("[M") < _MANY


@pytest.mark.peer
def test_orthanc_finds_what_is_held(running: Running, tmp_path: Path) -> None:
    with orthanc(tmp_path, modalities=[("ONCUE", running.port)]) as peer:
        asked = {"Level": "Study", "Query": {"PatientName": "strasse*", "StudyDate": "20260101", "Modality": ""}}
        query = json.loads(peer.rest("POST", "/modalities/ONCUE/query", json.dumps(asked).encode()))
        (number,) = peer.get(f"/queries/{query['ID']}/answers")
        found = peer.get(f"/queries/{query['ID']}/answers/{number}/content?simplify")
    assert (found["PatientID"], found["PatientName"]) == ("P2", "Straße^Jürgen=^")  # Orthanc has no kanji in Latin-1
