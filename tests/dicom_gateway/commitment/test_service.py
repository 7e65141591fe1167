"""What peers ask us to vouch for, asked by pynetdicom as a modality would."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage
from pynetdicom import AE

from dicom_gateway.commitment.information import PUSH_MODEL
from storage import audit
from storage.backoff import Backoff
from storage.commitment import requests
from storage.database import Database, connect
from storage.objects import ObjectStore
from storage.states import CommitmentState
from tests.support.commitment import ASKER, admit, asking, report_taker, request
from tests.support.gateways import Running, running_gateway, until
from tests.support.peers import free_port
from tests.support.senders import ct_image, store

MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4"


IMAGE = ct_image()
HERE = (CTImageStorage, str(IMAGE.SOPInstanceUID))
CT2, CT3 = free_port(), free_port()
"""Where peers take reports that have ended their associations."""


@pytest.fixture(scope="module")
def running(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Return one gateway for all tests, with an image."""
    folder = tmp_path_factory.mktemp("commitment")
    shutil.copy(sqlite_template, folder / "oncue.sqlite")
    database, objects = connect(f"sqlite:///{folder / 'oncue.sqlite'}"), ObjectStore(folder / "objects")
    admit(database, "modality", ASKER)
    admit(database, "ct2", "CT2", store_address=f"CT2@127.0.0.1:{CT2}")
    admit(database, "ct3", "CT3", store_address=f"CT3@127.0.0.1:{CT3}")
    with running_gateway(database, objects) as gateway:
        assert store(gateway.port, IMAGE, calling_aet=ASKER) == [0x0000]
        yield gateway
    database.dispose()


def _state(database: Database, transaction_uid: str) -> CommitmentState | None:
    with database.read() as session:
        known = {one.transaction_uid: one.state for one in requests.listed(session)}
    return known.get(transaction_uid)


def test_an_image_is_vouched_for_over_the_same_association(running: Running) -> None:
    with asking(running.port) as peer:
        assert peer.ask(request("2.25.1", HERE)) == 0x0000
        report = peer.report()
    assert (report.event_type, report.transaction_uid) == (1, "2.25.1")
    assert report.said == {HERE[1]: None}
    assert report.retrieve_aet == "ONCUE"
    until(lambda: _state(running.database, "2.25.1") is CommitmentState.REPORTED, "the report is on record")


def test_an_image_that_was_acknowledged_just_now_is_vouched_for(running: Running) -> None:
    late = ct_image(number=2)
    with asking(running.port) as peer:
        assert store(running.port, late, calling_aet=ASKER) == [0x0000]
        assert peer.ask(request("2.25.2", (CTImageStorage, str(late.SOPInstanceUID)))) == 0x0000
        assert peer.report().said == {str(late.SOPInstanceUID): None}


def test_what_is_not_here_has_its_reason(running: Running) -> None:
    with asking(running.port) as peer:
        assert peer.ask(request("2.25.3", HERE, (MR_IMAGE, HERE[1]))) == 0x0000
        report = peer.report()
    assert report.event_type == 2
    assert report.said[HERE[1]] == 0x0119


def test_an_unknown_instance_is_waited_for_and_then_reported_over_an_association_of_ours(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dicom_gateway.commitment.reporting.PATIENCE", timedelta(seconds=2))
    with report_taker(CT2, aet="CT2") as reports:
        with asking(running.port, aet="CT2") as peer:
            assert peer.ask(request("2.25.4", HERE, (CTImageStorage, "2.25.999"))) == 0x0000
        report = reports.get(timeout=30)
    assert (report.over, report.event_type) == ("new", 2)
    assert report.said == {HERE[1]: None, "2.25.999": 0x0112}


def test_a_report_that_the_peer_does_not_take_is_offered_again(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "_PAUSES", Backoff(first_seconds=0.2, longest_seconds=0.2))
    monkeypatch.setattr("dicom_gateway.commitment.service._LOOKS_SECONDS", (0.5,))
    with report_taker(CT3, aet="CT3", statuses=[0x0110, 0x0110]) as reports:
        with asking(running.port, aet="CT3") as peer:
            peer.ask(request("2.25.5", HERE))
            peer.association.abort()
        for _ in range(3):
            assert reports.get(timeout=30).said == {HERE[1]: None}
        until(lambda: _state(running.database, "2.25.5") is CommitmentState.REPORTED, "the report was taken")


def test_a_peer_that_releases_at_once_gets_its_report_within_seconds(running: Running) -> None:
    with report_taker(CT2, aet="CT2") as reports:
        with asking(running.port, aet="CT2") as peer:
            assert peer.ask(request("2.25.11", HERE)) == 0x0000
        over = {peer.reports.get_nowait().transaction_uid} if not peer.reports.empty() else set()
        assert over or reports.get(timeout=20).transaction_uid == "2.25.11"


def test_the_same_transaction_is_reported_again(running: Running) -> None:
    with asking(running.port) as peer:
        for _ in range(2):
            assert peer.ask(request("2.25.6", HERE)) == 0x0000
            assert peer.report().said == {HERE[1]: None}
    with running.database.read() as session:
        tags = [event.tag for event in audit.history(session, subject="commitment/2.25.6")]
    assert tags == ["commitment:asked", "commitment:judged", "commitment:reported"] * 2


def _without(keyword: str) -> Dataset:
    wanted = request("2.25.7", HERE)
    delattr(wanted, keyword)
    return wanted


def _with_bad_uid() -> Dataset:
    wanted = request("2.25.7", HERE)
    with pytest.warns(UserWarning, match="UI"):
        wanted.ReferencedSOPSequence[0].ReferencedSOPInstanceUID = "image-1"
    return wanted


@pytest.mark.parametrize(
    ("wanted", "more", "status"),
    [
        (_without("TransactionUID"), {}, 0x0120),
        (_without("ReferencedSOPSequence"), {}, 0x0120),
        (request("2.25.7"), {}, 0x0120),
        (_with_bad_uid(), {}, 0x0106),
        (request("2.25.7", HERE), {"action": 2}, 0x0123),
        (request("2.25.7", HERE), {"instance": "1.2.3"}, 0x0112),
        (request("2.25.7", *((CTImageStorage, f"2.25.8.{number}") for number in range(10_001))), {}, 0x0213),
    ],
)
def test_what_is_no_request_is_refused_and_leaves_nothing(
    running: Running, wanted: Dataset, more: dict[str, object], status: int
) -> None:
    with asking(running.port) as peer:
        assert peer.ask(wanted, **more) == status  # type: ignore[arg-type]  # a table of a test
        assert peer.ask(request("2.25.8", HERE)) == 0x0000, "the association goes on"
        assert peer.report().transaction_uid == "2.25.8"
    assert _state(running.database, "2.25.7") is None


def test_a_transaction_in_use_for_other_instances_is_refused(running: Running) -> None:
    with asking(running.port) as peer:
        assert peer.ask(request("2.25.9", HERE)) == 0x0000
        peer.report()
        assert peer.ask(request("2.25.9", (CTImageStorage, "2.25.10"))) == 0x0115


def test_a_peer_whose_entry_does_not_allow_it_cannot_ask(running: Running) -> None:
    entity = AE(ae_title="STRANGER")
    entity.add_requested_context(PUSH_MODEL)
    opened = entity.associate("127.0.0.1", running.port, ae_title="ONCUE")
    assert not opened.accepted_contexts
