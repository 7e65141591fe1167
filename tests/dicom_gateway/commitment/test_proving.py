"""Proofs of deliveries, of archives of pynetdicom that report as they like, and of Orthanc."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage

from dicom_gateway.commitment.querying import HoldingsQuery
from dicom_gateway.errors import SourceAnswerInvalid, SourceRefused
from storage import audit, delivery_lists, delivery_proofs, destinations
from storage.commitment import proofs
from storage.commitment.proofs import AskedObject
from storage.database import Database, utc_now
from storage.delivery_lists import Delivery
from storage.objects import ObjectStore
from storage.proof_ways import ProofWay
from storage.states import ProofState
from tests.dicom_gateway.asking.test_qido import PLUGIN
from tests.support.commitment import (
    ARCHIVE,
    Answer,
    Archive,
    admit,
    anew,
    archive,
    at_once,
    never,
    twice,
)
from tests.support.find_scp import find_scp
from tests.support.gateways import Running, running_gateway, until
from tests.support.peers import free_port, orthanc, storescu
from tests.support.required import missing_peer
from tests.support.senders import ct_image
from tests.support.storage_scp import scp
from tests.support.told_destinations import add_told
from tests.support.waiting_deliveries import put_on_the_way

PACS = "pacs"


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have destinations be asked soon, and soon again."""
    monkeypatch.setattr(delivery_proofs, "_SETTLE", timedelta(seconds=0.3))
    monkeypatch.setattr(proofs, "_SHORTEST_PAUSE", timedelta(seconds=0.1))
    monkeypatch.setattr("dicom_gateway.commitment.peers.REPORT_SECONDS", 1.0)


def _images(objects: ObjectStore, count: int) -> list[tuple[str, str, str]]:
    """Keep images of the study and series that their rows name; return SOP instance, SOP class and digest of each."""
    found = []
    for number in range(count):
        image, content = ct_image(number=number), io.BytesIO()
        image.StudyInstanceUID, image.SeriesInstanceUID = "2.25.1", "2.25.1.2"
        pydicom.dcmwrite(content, image, enforce_file_format=True)
        found.append((str(image.SOPInstanceUID), str(image.SOPClassUID), objects.put(content.getvalue())))
    return found


@contextlib.contextmanager
def _sending(
    database: Database, objects: ObjectStore, address: str, *, count: int = 2, port: int = 0, **columns: Any
) -> Iterator[Running]:
    """Run a gateway that sends objects to a destination that is to prove them."""
    with database.write() as session:
        add_told(session, PACS, now=utc_now(), address=address, **{"proof": "commitment", **columns})
    put_on_the_way(database, 1, _images(objects, count), destination=PACS, priority=None, now=utc_now())
    with running_gateway(database, objects, port=port, delivery_poll_seconds=0.2) as gateway:
        yield gateway


@contextlib.contextmanager
def _archiving(
    database: Database, objects: ObjectStore, *answers: Answer, lost: int | None = None, **columns: Any
) -> Iterator[tuple[Running, Archive]]:
    """Run an archive that reports by ``answers``, and a gateway that sends there."""
    admit(database, "archive", ARCHIVE)
    port = free_port()
    with archive(*answers, report_port=port) as there:
        if lost is not None:
            there.lost.add(_images(objects, lost + 1)[lost][0])
        with _sending(database, objects, there.address, port=port, **columns) as gateway:
            yield gateway, there


def _listed(database: Database) -> list[Delivery]:
    with database.read() as session:
        return list(delivery_lists.listed(session))[::-1]


def _states(database: Database) -> list[ProofState | None]:
    return [None if one.proof is None else one.proof.state for one in _listed(database)]


def _codes(database: Database) -> list[str | None]:
    return [None if one.proof is None else one.proof.code for one in _listed(database)]


def _tags(database: Database, tag: str) -> int:
    with database.read() as session:
        return len(audit.history(session, tag=tag, limit=1000))


COMMITTED = [ProofState.COMMITTED] * 2


@pytest.mark.parametrize("answer", [at_once, anew])
def test_an_archive_vouches_over_the_same_association_or_another(
    sqlite_database: Database, objects: ObjectStore, answer: Answer
) -> None:
    with _archiving(sqlite_database, objects, answer) as (_, there):
        until(lambda: _states(sqlite_database) == COMMITTED, "the archive's report")
        assert there.statuses.get(timeout=10) == 0x0000
        assert len(there.requests.get(timeout=10).ReferencedSOPSequence) == 2, "one request for both"
        assert there.requests.empty()


def test_a_report_that_comes_twice_changes_nothing(sqlite_database: Database, objects: ObjectStore) -> None:
    with _archiving(sqlite_database, objects, twice) as (_, there):
        assert [there.statuses.get(timeout=20) for _ in range(2)] == [0x0000, 0x0000]
    assert _tags(sqlite_database, "proof:committed") == 2
    assert _tags(sqlite_database, "proof:report-refused") == 0


def test_what_an_archive_lost_is_sent_anew_and_asked_for_again(sqlite_database: Database, objects: ObjectStore) -> None:
    def found_again(there: Archive, association: object, asked: object) -> None:
        at_once(there, association, asked)  # type: ignore[arg-type]  # what it was called with
        there.lost.clear()

    with _archiving(sqlite_database, objects, found_again, lost=0) as (_, there):
        until(lambda: _states(sqlite_database) == COMMITTED, "the second report")
    lost = _images(objects, 1)[0][0]
    assert there.stored.count(lost) == 2
    first = _listed(sqlite_database)[0].proof
    assert first is not None
    assert first.resent == 1


def test_what_an_archive_loses_every_time_fails_visibly(sqlite_database: Database, objects: ObjectStore) -> None:
    with _archiving(sqlite_database, objects, at_once, lost=0) as (_, there):
        until(lambda: ProofState.FAILED in _states(sqlite_database), "it is given up")
    assert _states(sqlite_database) == [ProofState.FAILED, ProofState.COMMITTED]
    assert _codes(sqlite_database)[0] == "commitment_missing"
    assert there.stored.count(_images(objects, 1)[0][0]) == 3


def test_a_report_that_never_comes_fails_visibly(
    sqlite_database: Database, objects: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proofs, "PATIENCE", (timedelta(seconds=0.5),) * 2)
    with _archiving(sqlite_database, objects, never) as (_, there):
        until(lambda: _states(sqlite_database) == [ProofState.FAILED] * 2, "it is given up")
        uids = {there.requests.get(timeout=1).TransactionUID for _ in range(2)}
    assert len(uids) == 2, "each request has a Transaction UID of its own"
    assert _codes(sqlite_database) == [proofs.UNANSWERED] * 2


def test_reports_of_unknown_transactions_and_of_others_change_nothing(
    sqlite_database: Database, objects: ObjectStore
) -> None:
    def lies(there: Archive, association: object, asked: object) -> None:
        association.join(30)  # type: ignore[attr-defined]  # pynetdicom's association is a thread
        there.send_anew(there.information(asked, transaction="2.25.12345"))  # type: ignore[arg-type]  # a data set
        there.send_anew(there.information(asked), aet="OTHER")  # type: ignore[arg-type]  # a data set

    admit(sqlite_database, "other", "OTHER")
    with _archiving(sqlite_database, objects, lies) as (_, there):
        assert [there.statuses.get(timeout=20) for _ in range(2)] == [0x0110, 0x0110]
    assert _states(sqlite_database) == [ProofState.ASKED] * 2
    assert _tags(sqlite_database, "proof:report-refused") == 2


def test_an_archive_that_refuses_the_request_for_now_is_asked_again(
    sqlite_database: Database, objects: ObjectStore
) -> None:
    with (
        archive(never, report_port=free_port(), status=0x0110) as there,
        _sending(sqlite_database, objects, there.address),
    ):
        for _ in range(3):
            there.requests.get(timeout=20)
    assert set(_codes(sqlite_database)) == {"commitment_not_taken"}
    assert ProofState.FAILED not in _states(sqlite_database)


def test_a_peer_without_commitment_fails_the_proof_and_says_what_to_do(
    sqlite_database: Database, objects: ObjectStore
) -> None:
    with scp((CTImageStorage,)) as (port, _), _sending(sqlite_database, objects, f"SCP@127.0.0.1:{port}"):
        until(lambda: _states(sqlite_database) == [ProofState.FAILED] * 2, "it is given up")
    proof = _listed(sqlite_database)[0].proof
    assert proof is not None
    assert proof.code == "peer_rejected_object"
    assert "--proof query" in (proof.reason or "")


def test_a_destination_that_is_to_prove_nothing_any_more_is_not_asked(
    sqlite_database: Database, objects: ObjectStore
) -> None:
    with _archiving(sqlite_database, objects, never) as (gateway, _):
        until(lambda: _states(sqlite_database) == [ProofState.ASKED] * 2, "it is asked")
        with gateway.database.write() as session:
            entry = destinations.find(session, PACS).entry
            destinations.change(session, replace(entry, proof=ProofWay.NONE), actor="test", now=utc_now())
        until(lambda: _states(sqlite_database) == [None] * 2, "it is withdrawn")


@pytest.mark.slow
@pytest.mark.peer
@pytest.mark.parametrize("where", ["find", "qido", "stow"])
def test_orthanc_shows_what_it_took(
    sqlite_database: Database, objects: ObjectStore, tmp_path: Path, where: str
) -> None:
    if where != "find" and not PLUGIN.exists():
        missing_peer("Orthanc's DICOMweb plugin is not installed")
    plugins = [] if where == "find" else [str(PLUGIN)]
    with orthanc(tmp_path, DicomAlwaysAllowStore=True, DicomAlwaysAllowFind=True, Plugins=plugins) as peer:
        dimse, web = f"{peer.ae_title}@127.0.0.1:{peer.port}", f"http://127.0.0.1:{peer.http_port}/dicom-web"
        asked = {"find": None, "qido": web, "stow": None}[where]
        to = web if where == "stow" else dimse
        with _sending(sqlite_database, objects, to, proof="query", proof_address=asked):
            until(lambda: _states(sqlite_database) == COMMITTED, "Orthanc shows it")


@pytest.mark.slow
@pytest.mark.peer
def test_orthanc_vouches_over_an_association_of_its_own(
    sqlite_database: Database, objects: ObjectStore, tmp_path: Path
) -> None:
    port = free_port()
    admit(sqlite_database, "orthanc", "ORTHANC")
    with orthanc(tmp_path, modalities=[("ONCUE", port)], DicomAlwaysAllowStore=True) as peer:
        to = f"{peer.ae_title}@127.0.0.1:{peer.port}"
        with _sending(sqlite_database, objects, to, port=port):
            until(lambda: _states(sqlite_database) == COMMITTED, "Orthanc's report")


@pytest.mark.slow
@pytest.mark.peer
def test_we_vouch_for_what_orthanc_sent(sqlite_database: Database, objects: ObjectStore, tmp_path: Path) -> None:
    port = free_port()
    with orthanc(tmp_path, modalities=[("ONCUE", port)], DicomAlwaysAllowStore=True) as peer:
        admit(sqlite_database, "orthanc", "ORTHANC", store_address=f"ORTHANC@127.0.0.1:{peer.port}")
        path = tmp_path / "image.dcm"
        ct_image().save_as(path, enforce_file_format=True)
        assert storescu(peer.ae_title, peer.port, path).returncode == 0
        with running_gateway(sqlite_database, objects, port=port):
            wanted = {"Resources": peer.get("/instances"), "StorageCommitment": True, "Synchronous": True}
            sent = json.loads(peer.rest("POST", "/modalities/ONCUE/store", json.dumps(wanted).encode()))
            transaction = sent["StorageCommitmentTransactionUID"]
            until(
                lambda: peer.get(f"/storage-commitment/{transaction}")["Status"] != "Pending", "our report to Orthanc"
            )
            assert peer.get(f"/storage-commitment/{transaction}")["Status"] == "Success"


@pytest.mark.parametrize("lie", ["another study", "other instances", "no end", "a failure"])
def test_answers_that_lie_or_never_end_prove_nothing(lie: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def answers(query: Dataset) -> Iterator[tuple[int, Dataset | None]]:
        if lie == "a failure":
            yield 0xA700, None
            return
        for number in itertools.count() if lie == "no end" else range(3):
            answer = Dataset()
            answer.StudyInstanceUID = "1.2.3" if lie == "another study" else query.StudyInstanceUID
            answer.SOPInstanceUID = f"2.25.5.{number}"
            yield 0xFF00, answer

    monkeypatch.setattr("dicom_gateway.commitment.querying.MOST_IMAGES", 50)
    query = HoldingsQuery("ONCUE", seconds=20)
    asked = (AskedObject(1, "2.25.1", "2.25.1.2", CTImageStorage, "2.25.7"),)
    with find_scp(answers) as peer:
        if lie == "other instances":
            assert query.kept(peer, asked, credentials=None) == frozenset()
            return
        with pytest.raises((SourceAnswerInvalid, SourceRefused)):
            query.kept(peer, asked, credentials=None)


def test_an_archive_that_does_not_show_what_it_took_is_sent_it_anew_after_some_looks(
    sqlite_database: Database, objects: ObjectStore
) -> None:
    looks: list[str] = []

    def nothing(query: Dataset) -> Iterator[tuple[int, Dataset | None]]:
        looks.append(str(query.SeriesInstanceUID))
        return iter(())

    with (
        find_scp(nothing) as source,
        scp((CTImageStorage,)) as (port, received),
        _sending(sqlite_database, objects, f"SCP@127.0.0.1:{port}", count=1, proof="query", proof_address=str(source)),
    ):
        until(lambda: _states(sqlite_database) == [ProofState.FAILED], "it is given up")
    assert _codes(sqlite_database) == ["object_not_found"]
    assert len(received) == 3
    assert looks == ["2.25.1.2"] * 9
