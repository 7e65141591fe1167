"""What a destination sets for what it is sent: objects for each association, a rate, transfer syntaxes."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEG2000Lossless

from dicom_gateway.destinations import Destination
from dicom_gateway.sending.limits import Pace, SendLimits
from dicom_gateway.sending.outgoing import Outgoing, read_outgoing
from dicom_gateway.sending.sender import send
from dicom_gateway.status import PeerAnswer
from tests.support.ending_scp import Ending, ending_scp
from tests.support.peers import dcmtk_storescp
from tests.support.senders import ct_image

STORED = PeerAnswer.STORED


def written(folder: Path, count: int, *, rows: int = 16) -> list[Outgoing]:
    """Write so many CT images and return them ready to send."""
    found = []
    for number in range(count):
        path = folder / f"{number}.dcm"
        pydicom.dcmwrite(path, ct_image(number=number, rows=rows), enforce_file_format=True)
        found.append(read_outgoing(path))
    return [outgoing for outgoing in found if outgoing is not None]


def compressed(folder: Path) -> Outgoing:
    """Return an image that says to be JPEG 2000; nobody looks at its pixels."""
    image = ct_image(number=99)
    image.file_meta.TransferSyntaxUID = JPEG2000Lossless
    image.PixelData = pydicom.encaps.encapsulate([b"\xff\x4f\xff\x51"])
    image["PixelData"].is_undefined_length = True
    pydicom.dcmwrite(folder / "compressed.dcm", image, enforce_file_format=True)
    found = read_outgoing(folder / "compressed.dcm")
    assert found is not None
    return found


def uids(objects: list[Outgoing]) -> list[str]:
    return [outgoing.sop_instance_uid for outgoing in objects]


def test_an_association_carries_no_more_objects_than_the_destination_wants(tmp_path: Path) -> None:
    objects = written(tmp_path, 7)
    with ending_scp(100, Ending.CLOSE) as peer:
        limits = SendLimits(objects_per_association=3)
        outcomes = send(objects, Destination("PEER", "127.0.0.1", peer.port), limits=limits)
    assert {outcome.verdict for outcome in outcomes} == {STORED}
    assert peer.associations == [uids(objects[:3]), uids(objects[3:6]), uids(objects[6:])]


@pytest.mark.peer
@pytest.mark.parametrize("wanted", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
def test_a_destination_gets_the_transfer_syntax_that_it_wants(wanted: str, tmp_path: Path) -> None:
    objects = written(tmp_path, 2)
    with dcmtk_storescp(tmp_path) as peer:
        destination = Destination(peer.ae_title, "127.0.0.1", peer.port)
        outcomes = send(objects, destination, limits=SendLimits(transfer_syntaxes=(wanted,)))
        received = [pydicom.dcmread(file) for file in peer.files()]
    assert [outcome.verdict for outcome in outcomes] == [STORED, STORED]
    assert {image.file_meta.TransferSyntaxUID for image in received} == {wanted}
    assert {str(image.PatientName) for image in received} == {"Größe^Zoë"}


@pytest.mark.peer
def test_an_object_that_would_have_to_be_compressed_or_decompressed_is_not_sent(tmp_path: Path) -> None:
    plain, packed = written(tmp_path, 1)[0], compressed(tmp_path)
    with dcmtk_storescp(tmp_path, "+xa") as peer:
        destination = Destination(peer.ae_title, "127.0.0.1", peer.port)
        to_plain = send([packed, plain], destination, limits=SendLimits(transfer_syntaxes=(ImplicitVRLittleEndian,)))
        to_packed = send([packed, plain], destination, limits=SendLimits(transfer_syntaxes=(JPEG2000Lossless,)))
        to_none = send([plain], destination, limits=SendLimits(transfer_syntaxes=(JPEG2000Lossless,)))
    assert [outcome.verdict for outcome in to_plain] == [PeerAnswer.PERMANENT, STORED]
    assert [outcome.verdict for outcome in to_packed] == [STORED, PeerAnswer.PERMANENT]
    assert [outcome.code for outcome in to_none] == ["peer_rejected_object"]
    assert "CT Image Storage as JPEG 2000 Image Compression (Lossless Only)" in to_plain[0].reason
    assert "change those of the destination" in to_none[0].reason


def test_what_is_sent_keeps_the_rate_of_the_destination(tmp_path: Path) -> None:
    objects = written(tmp_path, 4, rows=256)  # 131 kB each
    with ending_scp(100, Ending.CLOSE) as peer:
        started = time.monotonic()
        limits = SendLimits(kilobytes_per_second=500)
        outcomes = send(objects, Destination("PEER", "127.0.0.1", peer.port), limits=limits)
        seconds = time.monotonic() - started
    assert {outcome.verdict for outcome in outcomes} == {STORED}
    # A quarter of a second's bytes may go out at once.
    assert seconds >= 4 * 131_072 / 500_000 - 0.25


def test_senders_to_one_destination_share_its_rate(tmp_path: Path) -> None:
    pace = Pace(1000)
    objects = written(tmp_path, 4, rows=256)
    started = time.monotonic()
    with ending_scp(100, Ending.CLOSE) as one, ending_scp(100, Ending.CLOSE) as other:
        senders = [
            threading.Thread(target=send, args=(objects, Destination("PEER", "127.0.0.1", port)), kwargs={"pace": pace})
            for port in (one.port, other.port)
        ]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
        seconds = time.monotonic() - started
    assert (one.stored, other.stored) == (uids(objects), uids(objects))
    assert seconds >= 8 * 131_072 / 1_000_000 - 0.25


def test_a_slow_rate_is_kept_in_small_pieces() -> None:
    pieces = list(Pace(8).pieces(memoryview(bytes(10_000))))
    assert sum(map(len, pieces)) == 10_000
    assert max(map(len, pieces)) <= 2000
    assert len(list(Pace(None).pieces(memoryview(bytes(10_000))))) == 1


@pytest.mark.parametrize(
    "limits", [{"objects_per_association": 0}, {"kilobytes_per_second": 0}, {"transfer_syntaxes": ()}]
)
def test_a_limit_that_would_let_nothing_through_is_none(limits: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="or"):
        SendLimits(**limits)  # type: ignore[arg-type]  # a limit of the wrong kind is what is refused
