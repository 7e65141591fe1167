"""From a committed analysis to the objects at the peer."""

from __future__ import annotations

import contextlib
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dicom_gateway.maps import MapRequests
from dicom_gateway.objects.equipment import Equipment
from dicom_gateway.receiving.file_receiver import running_receiver
from storage import deliveries, delivery_lists, jobs, reports
from storage.database import Database, connect, utc_now
from storage.delivery_lists import Delivery
from storage.domain import ObjectKind
from storage.objects import ObjectStore
from storage.result_tables import ReportRow
from storage.states import DeliveryState, ReportState
from tests.support import peers
from tests.support.analysed_sources import analysed_source, finish_job
from tests.support.certificates import Authority
from tests.support.gateways import Running, running_gateway, until
from tests.support.sources import LAYOUTS, SourceStudy, store_study

# pynetdicom drops the socket of a refused connection without closing it; the garbage collector does.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]

_QUICK: dict[str, Any] = {"delivery_poll_seconds": 0.05, "connect_seconds": 1, "acse_seconds": 1, "answer_seconds": 5}


@pytest.fixture
def source(objects: ObjectStore) -> SourceStudy:
    return store_study(LAYOUTS[0], objects)


def _deliveries(running: Running) -> tuple[Delivery, ...]:
    with running.database.read() as session:
        return delivery_lists.listed(session)[::-1]


def _states(running: Running) -> list[DeliveryState]:
    return [delivery.state for delivery in _deliveries(running)]


@contextlib.contextmanager
def _peer_that_never_answers() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"HANGS@127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.peer
def test_seg_and_sr_reach_orthanc_and_sending_them_twice_stores_them_once(
    database: Database, objects: ObjectStore, source: SourceStudy, tmp_path: Path
) -> None:
    analysed_source(database, objects, source)
    with peers.orthanc(tmp_path) as orthanc:
        destination = f"ORTHANC@127.0.0.1:{orthanc.port}"
        with running_gateway(database, objects, destinations=(destination,), **_QUICK) as running:
            until(lambda: _states(running) == [DeliveryState.SENT] * 2, "both objects at the peer")
            sent = _deliveries(running)
            assert [item.written.kind for item in sent] == [ObjectKind.SEG, ObjectKind.SR]
            assert [item.status for item in sent] == [0, 0]
            assert orthanc.sop_instance_uids() == tuple(sorted(item.written.sop_instance_uid for item in sent))
            with database.write() as session:
                deliveries.retry(session, sent[0].id, actor="test", now=utc_now())
            until(lambda: len(running.events("delivery:sent")) == 3, "the second sending")
            assert len(orthanc.sop_instance_uids()) == 2


@pytest.mark.peer
def test_seg_and_sr_wait_for_a_certificate_that_is_trusted_and_travel_over_tls_then(
    sqlite_database: Database, objects: ObjectStore, source: SourceStudy, tmp_path: Path
) -> None:
    authority, trusted = Authority(tmp_path), tmp_path / "trusted.pem"
    pacs = authority.issue("pacs.example", address="127.0.0.1")
    shutil.copy(Authority(tmp_path, "other").certificate, trusted)
    analysed_source(sqlite_database, objects, source)
    options = ("+tls", str(pacs.key), str(pacs.certificate), "-ic")
    with peers.dcmtk_storescp(tmp_path, *options) as peer:
        settings: dict[str, Any] = {
            "destinations": (f"tls://STORESCP@127.0.0.1:{peer.port}",),
            "tls_destinations_ca": trusted,
        }
        with running_gateway(sqlite_database, objects, **settings, **_QUICK) as running:
            until(lambda: len(running.events("delivery:postponed")) >= 2, "the first attempt to fail")
            first = _deliveries(running)[0]
            assert (first.state, first.code) == (DeliveryState.PENDING, "peer_untrusted")
            assert not peer.files()
            shutil.copy(authority.certificate, trusted)
            until(lambda: _states(running) == [DeliveryState.SENT] * 2, "both objects at the peer")
            assert len(peer.files()) == 2


def test_an_analysis_of_another_process_is_delivered_without_waiting_for_the_next_look(
    sqlite_database: Database, objects: ObjectStore, source: SourceStudy, tmp_path: Path
) -> None:
    worker = connect(str(sqlite_database.engine.url))
    with running_receiver(tmp_path / "peer") as receiver:
        destination = f"{receiver.ae_title}@127.0.0.1:{receiver.port}"
        with running_gateway(
            sqlite_database, objects, destinations=(destination,), delivery_poll_seconds=3600
        ) as running:
            analysed_source(worker, objects, source)
            until(lambda: _states(running) == [DeliveryState.SENT] * 2, "both objects at the peer")
    worker.dispose()


@pytest.mark.peer
def test_a_peer_that_was_down_gets_everything_once_it_is_up(
    sqlite_database: Database,
    objects: ObjectStore,
    source: SourceStudy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    port = peers.free_port()
    analysed_source(sqlite_database, objects, source)
    with running_gateway(sqlite_database, objects, destinations=(f"ORTHANC@127.0.0.1:{port}",), **_QUICK) as running:
        until(lambda: len(running.events("delivery:postponed")) >= 2, "the first attempt to fail")
        first = _deliveries(running)[0]
        assert (first.state, first.code, first.attempts) == (DeliveryState.PENDING, "peer_unreachable", 1)
        ports = iter([port, peers.free_port()])
        monkeypatch.setattr(peers, "free_port", lambda: next(ports))
        with peers.orthanc(tmp_path) as orthanc:
            until(lambda: _states(running) == [DeliveryState.SENT] * 2, "both objects at the peer that came up")
            assert len(orthanc.sop_instance_uids()) == 2


@pytest.mark.peer
def test_a_peer_that_knows_another_title_refuses_for_good(
    sqlite_database: Database, objects: ObjectStore, source: SourceStudy, tmp_path: Path
) -> None:
    analysed_source(sqlite_database, objects, source)
    with peers.orthanc(tmp_path) as orthanc:
        wrong = f"SOMEONE@127.0.0.1:{orthanc.port}"
        with running_gateway(sqlite_database, objects, destinations=(wrong,), **_QUICK) as running:
            until(lambda: _states(running) == [DeliveryState.REFUSED] * 2, "the refusal")
            delivery = _deliveries(running)[0]
            assert (delivery.code, delivery.attempts) == ("peer_rejected_object", 1)


def test_a_destination_that_hangs_holds_up_no_other(
    sqlite_database: Database, objects: ObjectStore, source: SourceStudy, tmp_path: Path
) -> None:
    analysed_source(sqlite_database, objects, source)
    settings = {**_QUICK, "acse_seconds": 20}
    with _peer_that_never_answers() as hangs, running_receiver(tmp_path / "pacs") as receiver:
        both = (hangs, f"PACS@127.0.0.1:{receiver.port}")
        with running_gateway(sqlite_database, objects, destinations=both, **settings) as running:
            until(lambda: _states(running).count(DeliveryState.SENT) == 2, "both objects at the other peer")
            assert _states(running).count(DeliveryState.SENDING) == 2
            assert len(receiver.files()) == 2


def test_a_study_without_a_lesion_is_reported_without_a_segmentation(
    sqlite_database: Database, objects: ObjectStore, source: SourceStudy, tmp_path: Path
) -> None:
    analysed_source(sqlite_database, objects, source, source.analysis(np.zeros(source.layout.shape, dtype=np.uint8)))
    with (
        running_receiver(tmp_path / "pacs") as receiver,
        running_gateway(
            sqlite_database, objects, destinations=(f"PACS@127.0.0.1:{receiver.port}",), **_QUICK
        ) as running,
    ):
        until(lambda: _states(running) == [DeliveryState.SENT], "the report at the peer")
        assert _deliveries(running)[0].written.kind is ObjectKind.SR


def test_a_repeated_analysis_keeps_the_objects_that_were_written_first(
    database: Database, objects: ObjectStore, source: SourceStudy
) -> None:
    job_id = analysed_source(database, objects, source)
    with running_gateway(database, objects, **_QUICK) as running:
        until(lambda: len(running.events("object:written")) == 2, "the objects of the first analysis")
        with database.read() as session:
            first = reports.objects_of(session, job_id)
        with database.write() as session:
            jobs.retry(session, job_id, actor="test", now=utc_now())
        finish_job(database, objects, job_id, source.analysis(source.lesion_labels()))
        until(lambda: _report(database, job_id) == (ReportState.WRITTEN.value, None), "the second report")
        with database.read() as session:
            assert reports.objects_of(session, job_id) == first


def test_an_analysis_whose_source_is_gone_fails_with_a_code(
    sqlite_database: Database, objects: ObjectStore, source: SourceStudy
) -> None:
    job_id = analysed_source(sqlite_database, objects, source)
    objects.path(source.frames[0].digest).unlink()
    with running_gateway(sqlite_database, objects, **_QUICK):
        until(lambda: _report(sqlite_database, job_id)[0] == ReportState.FAILED.value, "the end of the report")
    assert _report(sqlite_database, job_id)[1] == "object_missing"


def test_an_object_that_was_changed_on_disk_never_leaves(
    sqlite_database: Database, objects: ObjectStore, source: SourceStudy, tmp_path: Path
) -> None:
    job_id = analysed_source(sqlite_database, objects, source)
    with running_receiver(tmp_path / "pacs") as receiver:
        with running_gateway(sqlite_database, objects, **_QUICK) as running:
            until(lambda: len(running.events("object:written")) == 2, "the objects")
        with sqlite_database.read() as session:
            written = reports.objects_of(session, job_id)
        objects.path(written[0].digest).write_bytes(b"changed")
        with sqlite_database.write() as session:
            report = session.get_one(ReportRow, job_id)
            report.state = ReportState.PENDING.value
            reports.written(session, job_id, written, destinations=[f"PACS@127.0.0.1:{receiver.port}"], now=utc_now())
        with running_gateway(sqlite_database, objects, **_QUICK) as running:
            until(lambda: DeliveryState.PENDING not in _states(running), "both attempts")
            until(lambda: DeliveryState.SENDING not in _states(running), "both answers")
            changed, whole = _deliveries(running)
        assert (changed.state, changed.code) == (DeliveryState.REFUSED, "object_corrupt")
        assert whole.state is DeliveryState.SENT


def _report(database: Database, job_id: int) -> tuple[str, str | None]:
    with database.read() as session:
        row = session.get_one(ReportRow, job_id)
        return row.state, row.code


@pytest.mark.peer
def test_a_map_that_was_asked_for_twice_reaches_orthanc_and_is_stored_once(
    sqlite_database: Database, objects: ObjectStore, source: SourceStudy, tmp_path: Path
) -> None:
    job_id = analysed_source(sqlite_database, objects, source, source.explained(objects))
    requests = MapRequests(sqlite_database, objects, Equipment(), utc_now)
    with peers.orthanc(tmp_path) as orthanc:
        destination = f"ORTHANC@127.0.0.1:{orthanc.port}"
        with running_gateway(sqlite_database, objects, **_QUICK) as running:
            first = requests.send(job_id, destination, actor="test")
            until(lambda: _states(running) == [DeliveryState.SENT], "the map at the peer")
            again = requests.send(job_id, destination, actor="test")
            until(lambda: len(running.events("delivery:sent")) == 2, "the second sending")
        assert (again.id, again.written) == (first.id, first.written)
        assert first.written.kind is ObjectKind.PM
        assert orthanc.sop_instance_uids() == (first.written.sop_instance_uid,)
        assert orthanc.file(first.written.sop_instance_uid)
