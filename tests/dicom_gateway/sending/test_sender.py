"""The SCU against real peers."""

from __future__ import annotations

import logging
import socket
import threading
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.presentation import AllStoragePresentationContexts, build_context

from dicom_gateway.destinations import Destination
from dicom_gateway.objects.equipment import Equipment
from dicom_gateway.objects.writing import write_objects
from dicom_gateway.sending.associations import PeerTimeouts
from dicom_gateway.sending.folders import send_folder
from dicom_gateway.sending.outgoing import Outgoing, read_outgoing
from dicom_gateway.sending.sender import send
from dicom_gateway.sending.verifying import echo
from dicom_gateway.status import PeerAnswer
from storage.objects import ObjectStore
from tests.support.peers import dcmtk_archive, dcmtk_storescp, free_port, orthanc
from tests.support.required import present
from tests.support.sources import LAYOUTS, WRITTEN_AT, store_study
from tests.support.storage_scp import scp

pytestmark = pytest.mark.slow

# pynetdicom drops the socket of a refused connection without closing it; the garbage collector does.
dropped_socket = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
SHORT = PeerTimeouts(connect_seconds=2.0, associate_seconds=2.0, answer_seconds=2.0)


@pytest.fixture
def results(objects: ObjectStore) -> tuple[Outgoing, ...]:
    """Return the SEG and SR of one analysis, ready to send."""
    study = store_study(LAYOUTS[0], objects)
    written = write_objects(
        study.analysis(study.lesion_labels()), objects, written_at=WRITTEN_AT, equipment=Equipment()
    )
    return tuple(
        Outgoing(objects.path(item.digest), item.sop_class_uid, item.sop_instance_uid, item.transfer_syntax_uid)
        for item in written
    )


def values(dataset: pydicom.Dataset) -> list[tuple[int, object]]:
    """Return every value of a data set; a change of transfer syntax changes how it is written, not what."""
    return [(int(element.tag), element.value) for element in dataset.iterall() if element.VR != "SQ"]


@pytest.mark.peer
def test_results_sent_twice_to_orthanc_are_stored_once(results: tuple[Outgoing, ...], tmp_path: Path) -> None:
    with orthanc(tmp_path) as peer:
        destination = Destination(peer.ae_title, "127.0.0.1", peer.port)
        first = send(results, destination)
        second = send(results, destination)
        assert {outcome.verdict for outcome in first + second} == {PeerAnswer.STORED}
        assert [outcome.status for outcome in first] == [0x0000, 0x0000]
        assert peer.sop_instance_uids() == tuple(sorted(item.sop_instance_uid for item in results))


@pytest.mark.peer
def test_results_sent_twice_to_an_archive_of_dcmtk_are_stored_once(
    results: tuple[Outgoing, ...], tmp_path: Path
) -> None:
    with dcmtk_archive(tmp_path) as peer:
        destination = Destination(peer.ae_title, "127.0.0.1", peer.port)
        assert echo(destination).answered
        outcomes = send(results, destination) + send(results, destination)
        assert {outcome.verdict for outcome in outcomes} == {PeerAnswer.STORED}
        kept = [file for file in peer.files() if file.name != "index.dat"]
    assert len(kept) == len(results)


def test_a_batch_of_more_sop_classes_than_an_association_holds_is_sent_whole(results: tuple[Outgoing, ...]) -> None:
    segmentation, report = results
    classes = [str(context.abstract_syntax) for context in AllStoragePresentationContexts[:140]]
    taken = {segmentation.sop_class_uid, report.sop_class_uid}
    others = [
        Outgoing(Path("not read"), uid, f"1.2.{number}", "1.2.840.10008.1.2.4.70")
        for number, uid in enumerate(classes)
        if uid not in taken
    ]
    with scp(tuple(taken)) as (port, received):
        outcomes = send([segmentation, *others, report], Destination("SCP", "127.0.0.1", port))
    assert len(outcomes) == len(others) + 2
    assert [outcome.verdict for outcome in outcomes if outcome.verdict is PeerAnswer.STORED] == [PeerAnswer.STORED] * 2
    assert {str(dataset.SOPInstanceUID) for dataset in received} == {item.sop_instance_uid for item in results}


@pytest.mark.peer
def test_dcmtk_receives_the_bytes_that_were_stored(results: tuple[Outgoing, ...], tmp_path: Path) -> None:
    with dcmtk_storescp(tmp_path) as peer:
        outcomes = send(results, Destination(peer.ae_title, "127.0.0.1", peer.port))
        assert [outcome.verdict for outcome in outcomes] == [PeerAnswer.STORED, PeerAnswer.STORED]
        received = {str(file.SOPInstanceUID): file for file in map(pydicom.dcmread, peer.files())}
    for item in results:
        assert received[item.sop_instance_uid] == pydicom.dcmread(item.path)


@pytest.mark.peer
def test_a_peer_that_takes_implicit_vr_only_gets_it(results: tuple[Outgoing, ...], tmp_path: Path) -> None:
    with dcmtk_storescp(tmp_path, "+xi") as peer:
        outcomes = send(results, Destination(peer.ae_title, "127.0.0.1", peer.port))
        assert [outcome.verdict for outcome in outcomes] == [PeerAnswer.STORED, PeerAnswer.STORED]
        received = {str(file.SOPInstanceUID): file for file in map(pydicom.dcmread, peer.files())}
    for item in results:
        copy = received[item.sop_instance_uid]
        assert copy.file_meta.TransferSyntaxUID == ImplicitVRLittleEndian
        assert values(copy) == values(pydicom.dcmread(item.path))


@pytest.mark.peer
def test_a_wrong_ae_title_is_a_permanent_refusal_that_names_it(results: tuple[Outgoing, ...], tmp_path: Path) -> None:
    with orthanc(tmp_path) as peer:
        outcomes = send(results, Destination("NOBODY", "127.0.0.1", peer.port))
        assert peer.sop_instance_uids() == ()
        answer = echo(Destination("NOBODY", "127.0.0.1", peer.port))
    assert {outcome.verdict for outcome in outcomes} == {PeerAnswer.PERMANENT}
    assert {outcome.code for outcome in outcomes} == {"peer_rejected_object"}
    assert "called AE title not recognised" in outcomes[0].reason
    assert not answer.answered
    assert "AE title" in answer.reason


@pytest.mark.peer
def test_a_peer_that_aborts_is_tried_again(results: tuple[Outgoing, ...], tmp_path: Path) -> None:
    with dcmtk_storescp(tmp_path, "--abort-after") as peer:
        outcomes = send(results, Destination(peer.ae_title, "127.0.0.1", peer.port), timeouts=SHORT)
    assert [outcome.verdict for outcome in outcomes] == [PeerAnswer.TRANSIENT, PeerAnswer.TRANSIENT]
    assert {outcome.code for outcome in outcomes} == {"peer_unreachable"}


@dropped_socket
def test_a_peer_that_is_down_is_tried_again(results: tuple[Outgoing, ...]) -> None:
    destination = Destination("PACS", "127.0.0.1", free_port())
    outcomes = send(results, destination, timeouts=SHORT)
    assert [outcome.verdict for outcome in outcomes] == [PeerAnswer.TRANSIENT, PeerAnswer.TRANSIENT]
    assert {outcome.code for outcome in outcomes} == {"peer_unreachable"}
    answer = echo(destination, timeouts=SHORT)
    assert not answer.answered
    assert answer.code == "peer_unreachable"


def test_a_host_name_that_does_not_resolve_is_tried_again(results: tuple[Outgoing, ...]) -> None:
    outcomes = send(results, Destination("PACS", "no-such-host.invalid", 104), timeouts=SHORT)
    assert {outcome.verdict for outcome in outcomes} == {PeerAnswer.TRANSIENT}


def test_a_peer_that_accepts_the_connection_and_says_nothing_is_given_up_on() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        answer = echo(Destination("PACS", "127.0.0.1", silent.getsockname()[1]), timeouts=SHORT)
    assert not answer.answered
    assert answer.code == "peer_unreachable"


def test_each_instance_keeps_its_own_status(results: tuple[Outgoing, ...]) -> None:
    classes = tuple(item.sop_class_uid for item in results)
    with scp(classes, statuses=(0xA700, 0xB007)) as (port, _):
        full, warned = send(results, Destination("SCP", "127.0.0.1", port))
    assert (full.verdict, full.status, full.code) == (PeerAnswer.TRANSIENT, 0xA700, "peer_unreachable")
    assert (warned.verdict, warned.status) == (PeerAnswer.STORED, 0xB007)
    with scp(classes, statuses=(0xA900, 0xC001)) as (port, _):
        outcomes = send(results, Destination("SCP", "127.0.0.1", port))
    assert [(outcome.verdict, outcome.status) for outcome in outcomes] == [
        (PeerAnswer.PERMANENT, 0xA900),
        (PeerAnswer.PERMANENT, 0xC001),
    ]
    assert "0xA900" in outcomes[0].reason


def test_an_object_that_the_peer_holds_already_counts_as_sent_with_a_note(results: tuple[Outgoing, ...]) -> None:
    with scp(tuple(item.sop_class_uid for item in results), statuses=(0x0111,)) as (port, _):
        again, first = send(results, Destination("SCP", "127.0.0.1", port))
    assert (again.verdict, again.status, again.code) == (PeerAnswer.STORED, 0x0111, "")
    assert "0x0111: it holds an object of this SOP Instance UID already" in again.reason
    assert (first.verdict, first.reason) == (PeerAnswer.STORED, "")


def test_a_sop_class_that_the_peer_does_not_take_fails_alone(results: tuple[Outgoing, ...]) -> None:
    segmentation, report = results
    with scp((report.sop_class_uid,)) as (port, received):
        outcomes = send(results, Destination("SCP", "127.0.0.1", port))
    assert [outcome.verdict for outcome in outcomes] == [PeerAnswer.PERMANENT, PeerAnswer.STORED]
    assert "Segmentation Storage" in outcomes[0].reason
    assert outcomes[0].sop_instance_uid == segmentation.sop_instance_uid
    assert [str(dataset.SOPInstanceUID) for dataset in received] == [report.sop_instance_uid]


def test_a_peer_that_takes_nothing_of_the_batch_refuses_for_good(results: tuple[Outgoing, ...]) -> None:
    with scp(("1.2.840.10008.5.1.4.1.1.7",)) as (port, _):
        outcomes = send(results, Destination("SCP", "127.0.0.1", port))
    assert {outcome.verdict for outcome in outcomes} == {PeerAnswer.PERMANENT}
    assert "takes none" in outcomes[0].reason


def test_a_transient_rejection_is_tried_again(results: tuple[Outgoing, ...]) -> None:
    entity = AE(ae_title="SCP")
    entity.maximum_associations = 1
    entity.supported_contexts = [build_context(item.sop_class_uid) for item in results]
    held = threading.Event()
    server = entity.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_ESTABLISHED, lambda _: held.set())]
    )
    assert server is not None
    port = server.server_address[1]
    client = AE()
    try:
        first = client.associate("127.0.0.1", port, contexts=entity.supported_contexts[:1])
        assert held.wait(5)
        outcomes = send(results, Destination("SCP", "127.0.0.1", port), timeouts=SHORT)
        first.release()
    finally:
        server.shutdown()
    assert {outcome.verdict for outcome in outcomes} == {PeerAnswer.TRANSIENT}
    assert "for now" in outcomes[0].reason


def test_an_object_that_vanished_from_disk_fails_alone(results: tuple[Outgoing, ...]) -> None:
    segmentation, report = results
    segmentation.path.unlink()
    with scp(tuple(item.sop_class_uid for item in results)) as (port, received):
        outcomes = send(results, Destination("SCP", "127.0.0.1", port))
    assert [outcome.verdict for outcome in outcomes] == [PeerAnswer.PERMANENT, PeerAnswer.STORED]
    assert outcomes[0].code == "undecodable_object"
    assert len(received) == 1
    assert outcomes[1].sop_instance_uid == report.sop_instance_uid


@pytest.mark.peer
def test_a_peer_that_answers_an_echo_is_there(tmp_path: Path) -> None:
    with dcmtk_storescp(tmp_path) as peer:
        answer = echo(Destination(peer.ae_title, "127.0.0.1", peer.port))
    assert answer.answered
    assert answer.code == ""
    assert 0.0 < answer.seconds < 5.0


def test_no_identifier_reaches_the_logs(
    objects: ObjectStore, results: tuple[Outgoing, ...], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    study = store_study(LAYOUTS[0], objects)
    images = [read_outgoing(objects.path(frame.digest)) for frame in study.frames[:1]]
    everything = [*results, *(image for image in images if image is not None)]
    with scp(tuple(item.sop_class_uid for item in everything)) as (port, received):
        send(everything, Destination("SCP", "127.0.0.1", port))
    assert len(received) == len(everything)
    assert "PATIENT-17" not in caplog.text
    assert "Zo" not in caplog.text


@pytest.mark.peer
def test_every_transfer_syntax_of_the_real_files_travels_unchanged(real_data: Path, tmp_path: Path) -> None:
    folder = present(real_data / "dicom" / "one-ct-sixteen-transfer-syntaxes")
    with dcmtk_storescp(tmp_path, "+xa", "-pm", "--unique-filenames") as peer:
        outcome = send_folder(folder, Destination(peer.ae_title, "127.0.0.1", peer.port))
        received = {pydicom.dcmread(file, stop_before_pixels=True).file_meta.TransferSyntaxUID for file in peer.files()}
        stored = [sent for sent in outcome.outcomes if sent.verdict is PeerAnswer.STORED]
        assert len(peer.files()) == len(stored)
    # DCMTK knows no retired JPEG processes. It says so for each, and takes all the rest.
    refused = [sent.reason for sent in outcome.outcomes if sent.verdict is not PeerAnswer.STORED]
    assert len(refused) == 3
    assert all("does not take CT Image Storage as JPEG" in reason for reason in refused)
    assert len(received) >= 10


def test_one_object_that_a_peer_breaks_off_over_does_not_hold_up_the_others(results: tuple[Outgoing, ...]) -> None:
    classes = tuple(item.sop_class_uid for item in results)
    segmentation = results[0]

    def abort_over_segmentation(event: evt.Event) -> int:
        if event.dataset.SOPInstanceUID == segmentation.sop_instance_uid:
            event.assoc.abort()
        return 0x0000

    entity = AE(ae_title="SCP")
    entity.supported_contexts = [build_context(uid, "1.2.840.10008.1.2.1") for uid in classes]
    server = entity.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, abort_over_segmentation)]
    )
    assert server is not None
    try:
        outcomes = send(results, Destination("SCP", "127.0.0.1", server.server_address[1]), timeouts=SHORT)
    finally:
        server.shutdown()
    assert [outcome.verdict for outcome in outcomes] == [PeerAnswer.TRANSIENT, PeerAnswer.STORED]


def test_a_large_object_is_streamed_in_pieces(objects: ObjectStore) -> None:
    study = store_study(LAYOUTS[0], objects, Rows=1024, Columns=1024, PixelData=np.zeros(1 << 20, np.uint16).tobytes())
    outgoing = read_outgoing(objects.path(study.frames[0].digest))
    assert outgoing is not None
    with scp((outgoing.sop_class_uid,)) as (port, received):
        (outcome,) = send([outgoing], Destination("SCP", "127.0.0.1", port))
    assert outcome.verdict is PeerAnswer.STORED
    assert len(received[0].PixelData) == 1 << 21
