"""HL7 over MLLP to receivers that keep to the protocol, and to those that do not."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import hl7
import pytest
from hl7.mllp import HL7StreamReader, HL7StreamWriter, start_hl7_server

from dicom_gateway.announcing.announcement import Answer, Channel, Verdict
from dicom_gateway.announcing.hl7_sender import Hl7Sender
from dicom_gateway.announcing.options import Hl7Options
from dicom_gateway.config import GatewaySettings
from dicom_gateway.tls.destination_handshake import DestinationTls
from storage.announcing.tables import ChannelKind
from storage.domain import Priority
from tests.support.announced_studies import PATIENT, announcement, changed, channel
from tests.support.certificates import Authority
from tests.support.hl7_receiver import Answering, acknowledging, dripping, hl7_receiver, silent, writing

_ACK = b"MSH|^~\\&|RIS|||ONCUE|20260301||ACK|1|P|2.5.1\rMSA|AA|"


def to(address: str, *, seconds: float = 10.0, **options: object) -> Channel:
    return channel(ChannelKind.HL7, address, Hl7Options(**options), seconds=seconds)  # type: ignore[arg-type]  # any option


def sent(*answers: Answering, seconds: float = 10.0) -> Answer:
    """Return what becomes of an announcement with a receiver that answers so."""
    with hl7_receiver(*answers) as receiver:
        return Hl7Sender().send(to(receiver.address, seconds=seconds), [announcement()], "group")


@contextlib.contextmanager
def library_server() -> Iterator[tuple[int, list[hl7.Message]]]:
    """Run python-hl7's own MLLP server until the block ends; it acknowledges everything."""
    received: list[hl7.Message] = []
    loop = asyncio.new_event_loop()

    async def answer(reader: HL7StreamReader, writer: HL7StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            message = await reader.readmessage()
            received.append(message)
            writer.writemessage(message.create_ack())
            await writer.drain()
        writer.close()

    server = loop.run_until_complete(start_hl7_server(answer, "127.0.0.1", 0, encoding="utf-8"))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield server.sockets[0].getsockname()[1], received
    loop.call_soon_threadsafe(server.close)
    asyncio.run_coroutine_threadsafe(server.wait_closed(), loop).result(20)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(20)
    loop.close()


@pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")
def test_the_mllp_server_of_python_hl7_takes_a_result_and_an_order_update() -> None:
    with library_server() as (port, received):
        answer = Hl7Sender().send(to(f"mllp://127.0.0.1:{port}", order_updates=True), [announcement()], "group")
    assert answer == Answer(Verdict.TAKEN)
    assert [str(one.segment("MSH")[9]) for one in received] == ["ORU^R01^ORU_R01", "ORM^O01^ORM_O01"]
    assert received[0]["PID.F5"] == "Müller"


def test_announcements_of_a_group_come_one_after_the_other() -> None:
    group = [announcement(), changed(Priority.LOW, Priority.STAT)]
    with hl7_receiver(acknowledging()) as receiver:
        assert Hl7Sender().send(to(receiver.address), group, "group").verdict is Verdict.TAKEN
    assert [str(one["NTE"][0][3])[:24] for one in receiver.messages] == [
        "Reading priority STAT by",
        "Reading priority changed",
    ]


def test_a_repeat_is_the_same_message() -> None:
    with hl7_receiver(acknowledging("AE"), acknowledging()) as receiver:
        sender, target = Hl7Sender(), to(receiver.address)
        assert sender.send(target, [announcement()], "group").verdict is Verdict.FAILED
        assert sender.send(target, [announcement()], "group").verdict is Verdict.TAKEN
    assert receiver.raw[0] == receiver.raw[1]


@pytest.mark.parametrize(
    ("code", "error", "verdict", "name"),
    [
        ("CA", "", Verdict.TAKEN, ""),
        ("AE", "", Verdict.FAILED, "hl7_error"),
        ("CE", "", Verdict.FAILED, "hl7_error"),
        ("AE", "207", Verdict.FAILED, "hl7_error"),
        ("AE", "101", Verdict.REFUSED, "hl7_rejected"),
        ("AE", "204", Verdict.REFUSED, "hl7_rejected"),
        ("AR", "", Verdict.REFUSED, "hl7_rejected"),
        ("CR", "", Verdict.REFUSED, "hl7_rejected"),
        ("AR", "206", Verdict.FAILED, "hl7_error"),
        ("ZZ", "", Verdict.FAILED, "peer_answer_invalid"),
    ],
)
def test_an_acknowledgement_means_what_the_standard_says(code: str, error: str, verdict: Verdict, name: str) -> None:
    answer = sent(acknowledging(code, error=error))
    assert (answer.verdict, answer.code) == (verdict, name)
    assert error in answer.reason


def test_what_a_receiver_writes_of_the_patient_is_not_repeated() -> None:
    answer = sent(acknowledging("AE", error="207"))
    assert "Mueller" not in answer.reason
    assert "SECRET" not in answer.reason


def test_an_acknowledgement_of_another_message_counts_for_nothing() -> None:
    assert sent(acknowledging(control_id="OTHER")).code == "hl7_other_message"
    assert sent(acknowledging(control_id="")).verdict is Verdict.FAILED


@pytest.mark.parametrize(
    "pieces",
    [
        [b"HTTP/1.1 400 Bad Request\r\n\r\n"],
        [b"\x0bMSH|^~\\&|RIS\r"],
        [b"\x0b\x1c\r"],
        [b"\x0bhello\x1c\r"],
        [b"\x0bMSH\x1c\r"],
        [b"\x0bMSH|\x1c\r"],
        [b"\x0bMSH||||\rMSA|AA\x1c\r"],
        [b"\x0bMSH|^~\\&|\rPID|1\x1c\r"],
        [b"\x0b\xff\xfe\xfd\x1c\r"],
        [b"\x0b" + b"A" * 70_000, b"A" * 70_000],
        [b"\x0b" + _ACK + b"\x1c\r"],
    ],
)
def test_what_is_no_acknowledgement_is_told_and_sent_again(pieces: list[bytes]) -> None:
    answer = sent(writing(*pieces))
    assert answer.verdict is Verdict.FAILED
    assert answer.code in {"peer_answer_invalid", "hl7_other_message"}


def test_what_is_no_mllp_is_told_at_once_though_the_connection_stays_open() -> None:
    def answer(connection: socket.socket, _: hl7.Message) -> None:
        connection.sendall(b"220 mail.example ESMTP\r\n")
        connection.recv(1)

    got = sent(answer)
    assert got.code == "peer_answer_invalid"
    assert "check the port" in got.reason


@pytest.mark.parametrize("form", [b"\r\n\x0b%s\x1c\r", b"\x0b%s\x1c", b"\x0b%s\r\x1c\r"])
def test_an_acknowledgement_in_the_frames_that_receivers_really_send_is_read(form: bytes) -> None:
    def answer(connection: socket.socket, message: hl7.Message) -> None:
        connection.sendall(form % (_ACK + str(message["MSH.F10"]).encode()))

    assert sent(answer).verdict is Verdict.TAKEN


def test_a_receiver_that_closes_without_an_answer_is_unreachable() -> None:
    assert sent(writing()).code == "peer_unreachable"


@pytest.mark.parametrize("answer", [silent, dripping])
def test_a_receiver_that_does_not_end_its_answer_is_given_up(answer: Answering) -> None:
    got = sent(answer, seconds=0.4)
    assert (got.verdict, got.code) == (Verdict.FAILED, "peer_unreachable")
    assert "in time" in got.reason


def test_nobody_listening_is_a_failure_that_may_pass() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    target = to(f"mllp://127.0.0.1:{port}")
    assert Hl7Sender().send(target, [announcement()], "group").code == "peer_unreachable"
    assert Hl7Sender().probe(target).verdict is Verdict.FAILED
    assert not Hl7Sender().send(target, [announcement()], "group").reached


def test_what_broke_off_may_have_come_to_the_receiver() -> None:
    assert sent(writing()).reached
    with hl7_receiver(acknowledging(), writing()) as receiver:
        target = to(receiver.address, order_updates=True, seconds=2.0)
        answer = Hl7Sender().send(target, [announcement()], "group")
    assert (answer.verdict, answer.reached) == (Verdict.FAILED, True)


def test_the_first_failure_ends_a_group_and_a_refusal_does_not() -> None:
    group = [announcement(key=f"{at:064x}") for at in range(3)]
    with hl7_receiver(acknowledging("AR"), acknowledging()) as receiver:
        assert Hl7Sender().send(to(receiver.address), group, "group").verdict is Verdict.REFUSED
    assert len(receiver.messages) == 3
    with hl7_receiver(acknowledging("AE"), acknowledging()) as receiver:
        assert Hl7Sender().send(to(receiver.address), group, "group").verdict is Verdict.FAILED
    assert len(receiver.messages) == 1


def test_an_order_that_fails_has_the_result_sent_again_with_it() -> None:
    with hl7_receiver(acknowledging(), acknowledging("AE"), acknowledging()) as receiver:
        target = to(receiver.address, order_updates=True)
        assert Hl7Sender().send(target, [announcement()], "group").verdict is Verdict.FAILED
        assert Hl7Sender().send(target, [announcement()], "group").verdict is Verdict.TAKEN
    ids = [one["MSH.F10"] for one in receiver.messages]
    assert ids == ids[:2] * 2


def test_without_an_accession_number_no_order_is_changed_and_that_is_said() -> None:
    with hl7_receiver(acknowledging()) as receiver:
        target = to(receiver.address, order_updates=True)
        answer = Hl7Sender().send(target, [announcement(accession_number="")], "group")
    assert (answer.verdict, answer.code) == (Verdict.TAKEN, "order_unidentified")
    assert len(receiver.messages) == 1


def test_no_result_leaves_without_a_patient() -> None:
    with hl7_receiver(acknowledging()) as receiver:
        target = to(receiver.address)
        nobody = Hl7Sender().send(target, [announcement(patient=None)], "group")
        nameless = Hl7Sender().send(target, [announcement(patient=replace(PATIENT, patient_id=" "))], "group")
    assert (nobody.verdict, nobody.code) == (Verdict.REFUSED, "channel_needs_patient_data")
    assert (nameless.verdict, nameless.code) == (Verdict.REFUSED, "patient_unidentified")
    assert not receiver.raw
    assert not nobody.reached


def test_a_probe_connects_and_says_nothing() -> None:
    with hl7_receiver(acknowledging()) as receiver:
        assert Hl7Sender().probe(to(receiver.address)) == Answer(Verdict.TAKEN)
    assert not receiver.raw


def test_a_certificate_that_holds_is_spoken_to_and_another_is_not(tmp_path: Path) -> None:
    authority, stranger = Authority(tmp_path), Authority(tmp_path, "stranger")
    tls = DestinationTls(GatewaySettings(tls_destinations_ca=authority.certificate))
    identities = {
        "holds": authority.issue("ris", address="127.0.0.1"),
        "names another host": authority.issue("elsewhere.example"),
        "issued by nobody": stranger.issue("ris", address="127.0.0.1"),
    }
    found: dict[str, tuple[Answer, Answer, int]] = {}
    for what, identity in identities.items():
        with hl7_receiver(acknowledging(), identity=identity) as receiver:
            target = to(f"mllps://127.0.0.1:{receiver.port}")
            answer, probed = Hl7Sender(tls).send(target, [announcement()], "group"), Hl7Sender(tls).probe(target)
            found[what] = answer, probed, len(receiver.raw)
    assert found["holds"] == (Answer(Verdict.TAKEN), Answer(Verdict.TAKEN), 1)
    for what in ("names another host", "issued by nobody"):
        answer, probed, received = found[what]
        assert (answer.verdict, answer.code, probed.code) == (Verdict.FAILED, "peer_untrusted", "peer_untrusted")
        assert what in answer.reason
        assert received == 0


def test_tls_asked_of_a_receiver_without_it_does_not_hang() -> None:
    with hl7_receiver(acknowledging()) as receiver:
        target = to(f"mllps://127.0.0.1:{receiver.port}", seconds=0.5)
        answer = Hl7Sender().send(target, [announcement()], "group")
    assert answer.verdict is Verdict.FAILED
    assert not receiver.raw


@pytest.mark.parametrize("address", ["", "mllp://ris", "tcp://ris:1"])
def test_an_address_that_is_none_is_a_failure(address: str) -> None:
    answer = Hl7Sender().send(to(address), [announcement()], "group")
    assert (answer.verdict, answer.code, answer.reached) == (Verdict.FAILED, "channel_invalid", False)
