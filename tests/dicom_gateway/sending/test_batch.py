"""Batches to peers that end associations, answer slowly, or take a part of what they are offered."""

from __future__ import annotations

import gc
import time
from pathlib import Path

import psutil
import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, MRImageStorage

from dicom_gateway.destinations import Destination
from dicom_gateway.sending.associations import PeerTimeouts
from dicom_gateway.sending.outcomes import SendOutcome
from dicom_gateway.sending.outgoing import Outgoing, read_outgoing
from dicom_gateway.sending.sender import send
from dicom_gateway.status import PeerAnswer
from tests.support.ending_scp import Ending, ending_scp
from tests.support.gateways import until
from tests.support.peers import dcmtk_storescp, free_port
from tests.support.senders import ct_image

PATIENT = PeerTimeouts(connect_seconds=20, associate_seconds=20, answer_seconds=20)
SHORT = PeerTimeouts(connect_seconds=2, associate_seconds=2, answer_seconds=1)
STORED, TRANSIENT = PeerAnswer.STORED, PeerAnswer.TRANSIENT


def written(
    folder: Path, count: int, *, sop_class_uid: str | None = None, first: int = 0, rows: int = 128
) -> list[Outgoing]:
    """Write so many images and return them ready to send."""
    found = []
    for number in range(first, first + count):
        image = ct_image(number=number, rows=rows)
        image.SOPClassUID = sop_class_uid or image.SOPClassUID
        pydicom.dcmwrite(folder / f"{number}.dcm", image, enforce_file_format=True)
        found.append(read_outgoing(folder / f"{number}.dcm"))
    return [outgoing for outgoing in found if outgoing is not None]


def uids(objects: list[Outgoing]) -> list[str]:
    return [outgoing.sop_instance_uid for outgoing in objects]


@pytest.mark.parametrize("ending", list(Ending))
@pytest.mark.parametrize("after", [1, 3])
def test_a_peer_that_ends_associations_after_some_objects_gets_all(ending: Ending, after: int, tmp_path: Path) -> None:
    objects = written(tmp_path, 10)
    with ending_scp(after, ending) as peer:
        outcomes = send(objects, Destination("PEER", "127.0.0.1", peer.port), timeouts=PATIENT)
    assert [outcome.verdict for outcome in outcomes] == [STORED] * 10, outcomes
    assert [outcome.sop_instance_uid for outcome in outcomes] == uids(objects)
    assert list(dict.fromkeys(peer.stored)) == uids(objects)
    assert max(map(len, peer.associations)) == after


def test_an_object_that_a_peer_breaks_off_over_is_offered_once_more_and_fails_alone(tmp_path: Path) -> None:
    objects = written(tmp_path, 3)
    first, choked, last = uids(objects)
    with ending_scp(100, Ending.CLOSE, chokes_on=choked) as peer:
        outcomes = send(objects, Destination("PEER", "127.0.0.1", peer.port), timeouts=PATIENT)
    assert [outcome.verdict for outcome in outcomes] == [STORED, TRANSIENT, STORED]
    assert peer.requested == [first, choked, choked, last]


def test_whoever_has_enough_ends_the_batch_and_the_association(tmp_path: Path) -> None:
    objects = written(tmp_path, 4)

    def enough(_: SendOutcome) -> None:
        raise InterruptedError("enough")

    with ending_scp(100, Ending.CLOSE) as peer:
        with pytest.raises(InterruptedError):
            send(objects, Destination("PEER", "127.0.0.1", peer.port), timeouts=PATIENT, on_outcome=enough)
        until(lambda: peer.released == 1, "the association to be released")
    assert peer.stored == uids(objects[:1])


def test_no_file_stays_open_where_associations_end_early(tmp_path: Path) -> None:
    objects = written(tmp_path, 10, rows=1024)  # of more than one window
    gc.disable()
    try:
        with ending_scp(2, Ending.ABORT) as peer:
            send(objects, Destination("PEER", "127.0.0.1", peer.port), timeouts=PATIENT)
        opened = [file.path for file in psutil.Process().open_files()]
    finally:
        gc.enable()
    assert not {str(outgoing.path) for outgoing in objects}.intersection(opened)


def test_a_peer_that_never_answers_is_given_up_after_a_few_associations(tmp_path: Path) -> None:
    objects = written(tmp_path, 12)
    with ending_scp(0, Ending.BEFORE_ANSWER) as peer:
        outcomes = send(objects, Destination("PEER", "127.0.0.1", peer.port), timeouts=PATIENT)
    assert [outcome.verdict for outcome in outcomes] == [TRANSIENT] * 12
    assert len(peer.associations) == 4
    assert "without an answer" in outcomes[-1].reason


def test_a_peer_that_cannot_be_called_was_offered_nothing(tmp_path: Path) -> None:
    outcomes = send(written(tmp_path, 2), Destination("PEER", "127.0.0.1", free_port()), timeouts=SHORT)
    assert [(outcome.verdict, outcome.was_offered) for outcome in outcomes] == [(TRANSIENT, False)] * 2


def test_a_peer_that_takes_its_time_over_each_object_gets_all(tmp_path: Path) -> None:
    objects = written(tmp_path, 4)
    with ending_scp(100, Ending.CLOSE, pause_seconds=0.6) as peer:
        started = time.monotonic()
        outcomes = send(objects, Destination("PEER", "127.0.0.1", peer.port), timeouts=SHORT)
        seconds = time.monotonic() - started
    # Longer than the time for an answer in all, and no answer longer than that.
    assert seconds > SHORT.answer_seconds
    assert [outcome.verdict for outcome in outcomes] == [STORED] * 4
    assert len(peer.associations) == 1


@pytest.mark.peer
def test_a_storescp_that_sleeps_over_each_object_gets_all(tmp_path: Path) -> None:
    objects = written(tmp_path, 3)
    with dcmtk_storescp(tmp_path, "--sleep-after", "1") as peer:
        outcomes = send(objects, Destination(peer.ae_title, "127.0.0.1", peer.port), timeouts=PATIENT)
        assert len(peer.files()) == 3
    assert {outcome.verdict for outcome in outcomes} == {STORED}


@pytest.mark.peer
def test_a_storescp_that_takes_small_pdus_in_implicit_vr_alone_gets_all(tmp_path: Path) -> None:
    objects = written(tmp_path, 3)
    with dcmtk_storescp(tmp_path, "+xi", "-pdu", "4096") as peer:
        outcomes = send(objects, Destination(peer.ae_title, "127.0.0.1", peer.port), timeouts=PATIENT)
        syntaxes = {pydicom.dcmread(file).file_meta.TransferSyntaxUID for file in peer.files()}
    assert {outcome.verdict for outcome in outcomes} == {STORED}
    assert syntaxes == {ImplicitVRLittleEndian}


@pytest.mark.peer
def test_a_storescp_that_takes_one_sop_class_gets_those_objects(tmp_path: Path) -> None:
    mixed = [
        *written(tmp_path, 1),
        *written(tmp_path, 2, sop_class_uid=MRImageStorage, first=10),
        *written(tmp_path, 1, first=20),
    ]
    profile = tmp_path / "profiles.cfg"
    profile.write_text(
        "[[TransferSyntaxes]]\n[Plain]\nTransferSyntax1 = LittleEndianExplicit\n"
        "[[PresentationContexts]]\n[CTOnly]\nPresentationContext1 = CTImageStorage\\Plain\n"
        "[[Profiles]]\n[Odd]\nPresentationContexts = CTOnly\n"
    )
    with dcmtk_storescp(tmp_path, "-xf", str(profile), "Odd") as peer:
        outcomes = send(mixed, Destination(peer.ae_title, "127.0.0.1", peer.port), timeouts=PATIENT)
        syntaxes = [pydicom.dcmread(file).file_meta.TransferSyntaxUID for file in peer.files()]
    assert [outcome.verdict for outcome in outcomes] == [STORED, PeerAnswer.PERMANENT, PeerAnswer.PERMANENT, STORED]
    assert "MR Image Storage" in outcomes[1].reason
    assert syntaxes == [ExplicitVRLittleEndian] * 2


@pytest.mark.peer
@pytest.mark.parametrize("option", ["--abort-during", "--abort-after"])
def test_a_storescp_that_aborts_every_request_is_tried_again_later(option: str, tmp_path: Path) -> None:
    objects = written(tmp_path, 2)
    with dcmtk_storescp(tmp_path, option) as peer:
        outcomes = send(objects, Destination(peer.ae_title, "127.0.0.1", peer.port), timeouts=PATIENT)
    assert [(outcome.verdict, outcome.code) for outcome in outcomes] == [(TRANSIENT, "peer_unreachable")] * 2
