"""A gateway that fetches from DCMTK's archive and from Orthanc, by each way."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from sqlalchemy import select

from dicom_gateway.fetching import dimse_source
from storage import audit, worklist
from storage.database import Database, utc_now
from storage.fetching import sources, studies
from storage.fetching.sources import FetchWay
from storage.fetching.wanted import Wanted
from storage.models import StudyRow
from storage.objects import ObjectStore
from storage.states import FetchState, StudyState
from storage.studies import reroute
from tests.dicom_gateway.asking.test_qido import PLUGIN
from tests.support.fetched import add_source, fill, images, listed, one, until_fetched
from tests.support.find_scp import find_scp
from tests.support.gateways import running_gateway, until
from tests.support.peers import Orthanc, dcmtk_archive, free_port, orthanc
from tests.support.records import analysed_study
from tests.support.required import missing_peer
from tests.support.senders import ct_image

pytestmark = pytest.mark.slow


@contextlib.contextmanager
def _archive(folder: Path, way: FetchWay, port: int) -> Iterator[tuple[str, str, int]]:
    """Run the peer of a way; yields the address to fetch from, and where to put images."""
    if way is FetchWay.WADO:
        if not PLUGIN.exists():
            missing_peer("Orthanc's DICOMweb plugin is not installed")
        with _orthanc(folder, port) as peer:
            yield f"http://127.0.0.1:{peer.http_port}/dicom-web", peer.ae_title, peer.port
        return
    with dcmtk_archive(folder, hosts=[("ONCUE", port)]) as archive:
        yield f"{archive.ae_title}@127.0.0.1:{archive.port}", archive.ae_title, archive.port


@contextlib.contextmanager
def _orthanc(folder: Path, port: int) -> Iterator[Orthanc]:
    allowed: dict[str, Any] = {
        "DicomAlwaysAllowFind": True,
        "DicomAlwaysAllowStore": True,
        "DicomAlwaysAllowMove": True,
        "Plugins": [str(PLUGIN)] if PLUGIN.exists() else [],
    }
    with orthanc(folder, modalities=[("ONCUE", port)], **allowed) as peer:
        yield peer


@pytest.mark.parametrize("way", list(FetchWay))
def test_a_study_comes_whole_and_no_revision_comes_twice(
    sqlite_database: Database, objects: ObjectStore, tmp_path: Path, way: FetchWay
) -> None:
    port = free_port()
    with (
        _archive(tmp_path, way, port) as (address, title, its_port),
        running_gateway(sqlite_database, objects, port=port) as running,
    ):
        fill(title, its_port, tmp_path, *images(3))
        add_source(sqlite_database, address, way)
        until_fetched(sqlite_database)
        assert one(sqlite_database).instances == 3
        assert len(running.instances()) == 3

        moment = utc_now()
        _ask_again(sqlite_database)
        until(lambda: (_source(sqlite_database).asked_at or moment) > moment, "asked again")
        assert len(running.events("fetch:fetching")) == 1

        fill(title, its_port, tmp_path, ct_image(number=7))
        _ask_again(sqlite_database)
        until(lambda: one(sqlite_database).fetched_instances == 4, "the image that came late")
        assert len(running.events("fetch:fetching")) == 2
        assert len(running.instances()) == 4


def test_what_a_person_wants_comes_without_a_schedule(
    sqlite_database: Database, objects: ObjectStore, tmp_path: Path
) -> None:
    port = free_port()
    with (
        _archive(tmp_path, FetchWay.MOVE, port) as (address, title, its_port),
        running_gateway(sqlite_database, objects, port=port) as running,
    ):
        first, *others = images(2)
        fill(title, its_port, tmp_path, first, *others)
        add_source(sqlite_database, address, FetchWay.MOVE, every_seconds=None, settle_seconds=3600)
        with sqlite_database.write() as session:
            studies.want(session, "pacs", str(first.StudyInstanceUID), actor="cli:anna", now=utc_now())
        until_fetched(sqlite_database)
        assert len(running.instances()) == 2


def test_an_unknown_move_destination_is_named(sqlite_database: Database, objects: ObjectStore, tmp_path: Path) -> None:
    with dcmtk_archive(tmp_path) as archive, running_gateway(sqlite_database, objects):
        fill(archive.ae_title, archive.port, tmp_path, *images(1))
        add_source(sqlite_database, f"{archive.ae_title}@127.0.0.1:{archive.port}", FetchWay.MOVE)
        until(lambda: any(study.code for study in listed(sqlite_database)), "why it does not come")
        study = one(sqlite_database)
        assert study.code == "retrieval_refused"
        assert "does not know the move destination ONCUE" in str(study.reason)
        assert study.state is FetchState.DUE


def test_priors_of_a_patient_come_and_other_patients_do_not(
    sqlite_database: Database, objects: ObjectStore, tmp_path: Path
) -> None:
    port = free_port()
    with (
        _archive(tmp_path, FetchWay.GET, port) as (address, title, its_port),
        running_gateway(sqlite_database, objects, port=port) as running,
    ):
        fill(title, its_port, tmp_path, _dated("1.2.1", "20200101"), _dated("1.2.2", "20210101"))
        fill(title, its_port, tmp_path, _dated("1.2.3", "20210601", patient="OTHER"), _dated("1.2.4", "20990101"))
        add_source(sqlite_database, address, FetchWay.GET, every_seconds=None, priors=1)
        fill("ONCUE", port, tmp_path, _dated("1.2.5", "20220101"))
        until_fetched(sqlite_database)
        study = one(sqlite_database)
        assert (study.study_instance_uid, study.is_prior) == ("1.2.2", True)
        assert {row.study_instance_uid for row in running.instances()} == {"1.2.2", "1.2.5"}


def test_a_prior_is_analysed_only_where_somebody_asks(
    sqlite_database: Database, objects: ObjectStore, tmp_path: Path
) -> None:
    port = free_port()
    with (
        _archive(tmp_path, FetchWay.GET, port) as (address, title, its_port),
        running_gateway(sqlite_database, objects, port=port, quiet_seconds=0.2),
    ):
        fill(title, its_port, tmp_path, _dated("1.2.1", "20200101"))
        add_source(sqlite_database, address, FetchWay.GET, every_seconds=None, priors=1)
        fill("ONCUE", port, tmp_path, _dated("1.2.5", "20220101"))
        until_fetched(sqlite_database)
        until(lambda: _state(sqlite_database, "1.2.1") is StudyState.NOT_APPLICABLE, "a prior that is set aside")
        with sqlite_database.read() as session:
            entry = worklist.find(session, _id(sqlite_database, "1.2.1"))
        assert "earlier study" in entry.reasons[0]
        with sqlite_database.write() as session:
            reroute(session, entry.id, actor="cli:anna", now=utc_now())
        until(lambda: _state(sqlite_database, "1.2.1") is StudyState.QUEUED, "a prior that somebody wants analysed")


def test_a_source_that_is_down_is_left_alone_and_told_of(sqlite_database: Database, objects: ObjectStore) -> None:
    with running_gateway(sqlite_database, objects):
        add_source(sqlite_database, f"GONE@127.0.0.1:{free_port()}", FetchWay.GET)
        until(lambda: _source(sqlite_database).failures > 0, "a source that does not answer")
        source = _source(sqlite_database)
        assert source.code == "source_unreachable"
        assert source.next_ask_at is not None
        assert (source.next_ask_at - utc_now()).total_seconds() > 5


@pytest.mark.parametrize("answers", ["endless", "no_uid", "twice"])
def test_a_source_that_lies_is_named_or_read_once(
    sqlite_database: Database, objects: ObjectStore, answers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dimse_source, "MOST_STUDIES", 200)

    def lying(query: Dataset) -> Iterator[tuple[int, Dataset | None]]:
        if query.QueryRetrieveLevel != "STUDY":
            yield 0xA900, None
            return
        number = 0
        while answers == "endless" or number < 2:
            number += 1
            found = Dataset()
            found.StudyInstanceUID = {"endless": f"1.2.{number}", "no_uid": "PATIENT^NAME", "twice": "1.2.3"}[answers]
            found.NumberOfStudyRelatedInstances = 5
            yield 0xFF00, found

    with find_scp(lying) as source, running_gateway(sqlite_database, objects):
        add_source(sqlite_database, str(source), FetchWay.GET, settle_seconds=3600)
        if answers == "twice":
            until(lambda: len(listed(sqlite_database)) == 1, "one study of two answers")
            return
        until(lambda: _source(sqlite_database).failures > 0, "a source that lies")
        assert _source(sqlite_database).code == "source_answer_invalid"
        assert "PATIENT" not in str(_source(sqlite_database).reason)
        assert listed(sqlite_database) == []


def test_outside_its_hours_nothing_comes(sqlite_database: Database, objects: ObjectStore, tmp_path: Path) -> None:
    from storage.fetching.hours import Hours

    now = utc_now()
    closed = Hours.parse(f"{(now.hour + 2) % 24:02}:00-{(now.hour + 3) % 24:02}:00")
    with dcmtk_archive(tmp_path) as archive, running_gateway(sqlite_database, objects):
        fill(archive.ae_title, archive.port, tmp_path, *images(1))
        address = f"{archive.ae_title}@127.0.0.1:{archive.port}"
        add_source(sqlite_database, address, FetchWay.GET, hours=closed)
        until(lambda: [study.state for study in listed(sqlite_database)] == [FetchState.DUE], "a study that is due")
        until(lambda: _source(sqlite_database).asked_at is not None, "asked")
        assert one(sqlite_database).attempts == 0


def test_a_filter_reaches_the_source(sqlite_database: Database, objects: ObjectStore) -> None:
    asked: list[Dataset] = []

    def answers(query: Dataset) -> Iterator[tuple[int, Dataset | None]]:
        asked.append(query)
        yield from ()

    wanted = Wanted.parse(("StudyDate=-2d..", "ModalitiesInStudy=MR"))
    with find_scp(answers) as source, running_gateway(sqlite_database, objects):
        add_source(sqlite_database, str(source), FetchWay.GET, wanted=wanted)
        until(lambda: bool(asked), "the question")
    assert asked[0].ModalitiesInStudy == "MR"
    assert str(asked[0].StudyDate).endswith("-")
    assert len(str(asked[0].StudyDate)) == 9


def test_a_study_of_which_a_source_holds_nothing_but_our_results_does_not_come(
    sqlite_database: Database, objects: ObjectStore
) -> None:
    uid = analysed_study(sqlite_database, objects).study_instance_uid
    with sqlite_database.read() as session:
        ours = studies.own_series(session, uid)

    def answers(query: Dataset) -> Iterator[tuple[int, Dataset | None]]:
        for series in ours if query.QueryRetrieveLevel == "SERIES" else [""]:
            found = Dataset()
            found.StudyInstanceUID, found.SeriesInstanceUID, found.Modality = uid, series, "SR"
            found.NumberOfSeriesRelatedInstances = 1
            yield 0xFF00, found

    with find_scp(answers) as source, running_gateway(sqlite_database, objects) as running:
        add_source(sqlite_database, str(source), FetchWay.GET)
        until_fetched(sqlite_database)
        assert (one(sqlite_database).instances, running.events("fetch:fetching")) == (0, [])


def test_every_step_is_in_the_history(sqlite_database: Database, objects: ObjectStore, tmp_path: Path) -> None:
    with dcmtk_archive(tmp_path) as archive, running_gateway(sqlite_database, objects):
        fill(archive.ae_title, archive.port, tmp_path, *images(1))
        add_source(sqlite_database, f"{archive.ae_title}@127.0.0.1:{archive.port}", FetchWay.GET)
        until_fetched(sqlite_database)
        with sqlite_database.read() as session:
            tags = [event.tag for event in audit.history(session, limit=1000) if event.tag.startswith("fetch")]
    assert tags == ["fetch-source:added", "fetch:settling", "fetch:due", "fetch:fetching", "fetch:fetched"]


def _dated(study: str, date: str, *, patient: str = "P1") -> Dataset:
    image = ct_image(number=1)
    image.StudyInstanceUID, image.SeriesInstanceUID, image.SOPInstanceUID = study, f"{study}.1", f"{study}.1.1"
    image.StudyDate, image.PatientID = date, patient
    return image


def _id(database: Database, uid: str) -> int:
    with database.read() as session:
        return session.scalars(select(StudyRow.id).where(StudyRow.study_instance_uid == uid)).one()


def _state(database: Database, uid: str) -> StudyState:
    with database.read() as session:
        return worklist.find(session, _id(database, uid)).state


def _source(database: Database) -> sources.RecordedSource:
    with database.read() as session:
        return sources.find(session, "pacs")


def _ask_again(database: Database) -> None:
    with database.write() as session:
        sources.ask_now(session, "pacs", actor="test", now=utc_now())
