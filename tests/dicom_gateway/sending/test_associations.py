"""What a requested association makes of a peer that answers wrongly, late, or in the middle of a data set."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dicom_gateway.destinations import Destination
from dicom_gateway.errors import GatewayError, PeerRejectedObject, PeerUnreachable
from dicom_gateway.protocol import commands, pdus
from dicom_gateway.protocol.commands import Command
from dicom_gateway.protocol.data_set_pdus import BytesSource, FileSource
from dicom_gateway.protocol.pdus import ContextAnswer, ContextResult, Identification
from dicom_gateway.sending.associations import PeerTimeouts, open_association
from dicom_gateway.sending.proposals import Proposal
from dicom_gateway.sending.requested_association import PreparedStore, RequestedAssociation
from tests.support import pdus as raw

CT, EXPLICIT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1"
PROPOSAL = Proposal(CT, EXPLICIT)
SHORT = PeerTimeouts(connect_seconds=2, associate_seconds=2, answer_seconds=1)
LONG = PeerTimeouts(connect_seconds=20, associate_seconds=20, answer_seconds=20)
ACCEPTED = ContextAnswer(1, ContextResult.ACCEPTANCE, EXPLICIT)
EMPTY_FRAGMENT = pdus.HEADER.pack(4, 6) + (2).to_bytes(4, "big") + bytes((1, 0b01))
BOUND_SECONDS = 20
Script = Callable[[socket.socket], None]


def accept(connection: socket.socket, answer: ContextAnswer = ACCEPTED, *, maximum_pdu_bytes: int = 16_384) -> None:
    connection.recv(4096)
    ours = Identification(maximum_pdu_bytes, "1.2.3", "PEER")
    connection.sendall(pdus.associate_accept(bytes(64), pdus.DICOM_APPLICATION_CONTEXT, [answer], ours))


def release(connection: socket.socket) -> None:
    """Take what comes until a request for release ends it, and grant that."""
    while not connection.recv(65_536).endswith(pdus.release_request()):
        pass
    connection.sendall(pdus.release_response())


def answer(connection: socket.socket, message_id: int, field: int = 1) -> None:
    request = Command(field, message_id, has_data_set=True, sop_class_uid=CT, sop_instance_uid="1.2")
    connection.sendall(pdus.command_pdus(1, commands.response(request, 0), maximum_pdu_bytes=20))


def flood(connection: socket.socket) -> None:
    """Send PDUs without an end, each of them a fragment that is not the last one of a command set."""
    while True:
        connection.sendall(EMPTY_FRAGMENT * 500)


def drip(connection: socket.socket) -> None:
    """Send such a PDU now and then, so that no wait for one of them is long."""
    while True:
        connection.sendall(EMPTY_FRAGMENT)
        time.sleep(0.2)


@contextlib.contextmanager
def peer(*steps: Script) -> Iterator[Destination]:
    """Run a peer that takes one connection through these steps, and then waits for its end."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def run() -> None:
            with contextlib.suppress(OSError):
                connection, _ = server.accept()
                with connection:
                    for step in steps:
                        step(connection)
                    while connection.recv(65536):
                        pass

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield Destination("PEER", "127.0.0.1", server.getsockname()[1])
    thread.join(10)


def prepared(association: RequestedAssociation, number: int) -> PreparedStore:
    return association.prepare(PROPOSAL, f"1.2.{number}", BytesSource(bytes(100)))


def store(destination: Destination, *, times: int = 1) -> list[int]:
    with open_association(destination, [PROPOSAL], calling_ae_title="ONCUE", timeouts=SHORT) as association:
        return [association.store(prepared(association, number)) for number in range(times)]


def test_an_answer_in_many_pieces_is_put_together() -> None:
    with peer(
        accept, lambda connection: answer(connection, 1), lambda connection: answer(connection, 2), release
    ) as found:
        assert store(found, times=2) == [0, 0]


def message(command: bytes, data_set: bytes) -> bytes:
    """Return a command set and its data set in one PDU, as some peers pack them."""
    packed = (raw.fragment(1, raw.COMMAND | raw.LAST, command), raw.fragment(1, raw.LAST, data_set))
    return raw.p_data(*packed)


def test_an_answer_that_is_packed_into_one_pdu_with_its_data_set_is_read() -> None:
    def match(connection: socket.socket) -> None:
        connection.recv(4096)
        request = Command(0x20, 1, has_data_set=True, sop_class_uid=CT, sop_instance_uid="")
        found = commands.response(request, 0xFF00, has_data_set=True)
        connection.sendall(message(found, b"match") + message(found, b"again"))
        connection.sendall(pdus.command_pdus(1, commands.response(request, 0), maximum_pdu_bytes=0))

    with (
        peer(accept, match, release) as found,
        open_association(found, [PROPOSAL], calling_ae_title="ONCUE", timeouts=SHORT) as association,
    ):
        assert [one.identifier for one in association.find(PROPOSAL, b"keys")] == [b"match", b"again", None]


def one_pdu(connection: socket.socket) -> bytes:
    """Return the next PDU, and leave what follows right behind it."""
    header = connection.recv(pdus.HEADER.size, socket.MSG_WAITALL)
    return header + connection.recv(int.from_bytes(header[2:6], "big"), socket.MSG_WAITALL)


def event_report(connection: socket.socket) -> None:
    connection.sendall(message(commands.event_report_request(7, CT, "1.2", 1), b"report"))


def action(message_id: int) -> bytes:
    return commands.action_request(message_id, CT, "1.2", 1)


def test_a_report_that_overtakes_the_answer_to_its_request_is_taken_and_answered() -> None:
    answers: list[bytes] = []

    def take(connection: socket.socket) -> None:
        answers.append(one_pdu(connection))

    def ask_back(connection: socket.socket) -> None:
        asked = b""
        while b"wanted" not in asked:  # it may come in two pieces
            asked += connection.recv(4096)
        event_report(connection)
        answer(connection, 1, field=0x130)
        event_report(connection)

    steps = (accept, ask_back, take)
    with (
        peer(*steps, release) as found,
        open_association(found, [PROPOSAL], calling_ae_title="ONCUE", timeouts=LONG) as association,
    ):
        assert association.ask(PROPOSAL, action, b"wanted") == 0
        overtaking, following = association.incoming(5), association.incoming(5)
        assert overtaking is not None
        assert following is not None
        assert (overtaking.command.event_type, overtaking.data_set) == (1, b"report")
        assert following.data_set == b"report"
        association.answer(following, 0x0110)
    (told,) = answers
    assert commands.decode_answer(_command(told)).status == 0x0110


def _command(pdu: bytes) -> bytes:
    """Return the command set of a PDU that holds nothing else."""
    (fragment,) = pdus.fragments(memoryview(pdu)[pdus.HEADER.size :])
    return bytes(fragment.content)


@pytest.mark.parametrize("says", [lambda _: None, lambda connection: connection.sendall(pdus.release_request())])
def test_a_peer_that_has_nothing_to_report_is_not_waited_for_any_longer(says: Script) -> None:
    with (
        peer(accept, lambda connection: answer(connection, 1, field=0x130), says) as found,
        open_association(found, [PROPOSAL], calling_ae_title="ONCUE", timeouts=SHORT) as association,
    ):
        assert association.ask(PROPOSAL, action, b"wanted") == 0
        assert association.incoming(0.3) is None


def test_a_peer_that_reports_and_never_answers_is_given_up() -> None:
    with (
        peer(accept, *[event_report] * 10) as found,
        open_association(found, [PROPOSAL], calling_ae_title="ONCUE", timeouts=LONG) as association,
        pytest.raises(PeerUnreachable, match="requests where an answer is due"),
    ):
        association.ask(PROPOSAL, action, b"wanted")


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ((accept, lambda connection: answer(connection, 9)), "answer to another request"),
        ((accept, lambda connection: answer(connection, 1, field=0x30)), "answer to another request"),
        ((accept, lambda connection: connection.sendall(pdus.release_request())), "broke the association off"),
        ((accept, lambda connection: connection.sendall(pdus.abort(0))), "broke the association off"),
        ((accept, lambda connection: connection.shutdown(socket.SHUT_RDWR)), "broke the association off"),
        ((accept, lambda connection: connection.sendall(b"\x99" * 50)), "unknown type"),
        ((accept,), "did not do its part in time"),
        ((lambda connection: connection.sendall(b"HTTP/1.1 400 Bad Request\r\n"),), "does not answer"),
        ((lambda connection: connection.sendall(pdus.abort(0)),), "does not answer"),
        ((), "does not answer"),
    ],
)
def test_a_peer_that_does_not_answer_as_it_should_is_tried_again_later(steps: tuple[Script, ...], said: str) -> None:
    with peer(*steps) as destination, pytest.raises(PeerUnreachable, match=said):
        store(destination)


@pytest.mark.parametrize(
    ("step", "error"),
    [
        (lambda connection: connection.sendall(pdus.associate_reject(1, 1, 7)), PeerRejectedObject),
        (lambda connection: connection.sendall(pdus.associate_reject(2, 3, 2)), PeerUnreachable),
        (
            lambda connection: accept(
                connection, ContextAnswer(1, ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED, EXPLICIT)
            ),
            PeerRejectedObject,
        ),
        (
            lambda connection: accept(connection, ContextAnswer(1, ContextResult.ACCEPTANCE, "1.2.840.10008.1.2")),
            PeerRejectedObject,
        ),
        (
            lambda connection: accept(connection, ContextAnswer(3, ContextResult.ACCEPTANCE, EXPLICIT)),
            PeerRejectedObject,
        ),
    ],
)
def test_a_refusal_says_whether_trying_later_helps(step: Script, error: type[GatewayError]) -> None:
    with peer(step) as destination, pytest.raises(error):
        store(destination)


@pytest.mark.parametrize("endless", [flood, drip])
def test_an_answer_without_an_end_is_not_waited_for(endless: Script) -> None:
    started = time.monotonic()
    with peer(accept, endless) as destination, pytest.raises(PeerUnreachable):
        store(destination)
    assert time.monotonic() - started < BOUND_SECONDS


@pytest.mark.parametrize("endless", [flood, drip])
def test_a_peer_that_never_grants_the_release_is_left(endless: Script) -> None:
    started = time.monotonic()
    with peer(accept, lambda connection: answer(connection, 1), endless) as destination:
        assert store(destination) == [0]
    assert time.monotonic() - started < BOUND_SECONDS


@pytest.mark.parametrize("maximum", range(1, 8))
def test_a_peer_whose_maximum_length_leaves_no_room_is_refused(maximum: int) -> None:
    with (
        peer(lambda connection: accept(connection, maximum_pdu_bytes=maximum)) as destination,
        pytest.raises(PeerRejectedObject, match="maximum length"),
    ):
        store(destination)


def test_the_shortest_maximum_length_with_room_is_kept_to() -> None:
    def take(connection: socket.socket) -> None:
        received = bytearray()
        while not received.endswith(pdus.release_request()):
            received += connection.recv(65_536)
            if len(received) >= sent_bytes and not answered:
                answered.append(1)
                answer(connection, 1)
        lengths.extend(_lengths(received[: -len(pdus.release_request())]))
        connection.sendall(pdus.release_response())

    answered: list[int] = []
    lengths: list[int] = []
    sent_bytes = 50 * 14
    with peer(lambda connection: accept(connection, maximum_pdu_bytes=8), take) as destination:
        assert store(destination) == [0]
    assert set(lengths) == {8}


def test_an_empty_data_set_is_an_error_that_leaves_the_association_open() -> None:
    with (
        peer(accept, lambda connection: answer(connection, 2), release) as destination,
        open_association(destination, [PROPOSAL], calling_ae_title="ONCUE", timeouts=SHORT) as association,
    ):
        with pytest.raises(OSError, match="there is no data set"):
            association.prepare(PROPOSAL, "1.2.1", BytesSource(b""))
        assert association.store(prepared(association, 2)) == 0


def test_the_next_request_is_made_ready_before_the_peer_answers() -> None:
    ready = threading.Event()
    waited: list[bool] = []
    made: list[PreparedStore] = []

    def answer_when_the_next_is_ready(connection: socket.socket) -> None:
        waited.append(ready.wait(BOUND_SECONDS))
        answer(connection, 1)

    steps = (accept, answer_when_the_next_is_ready, lambda connection: answer(connection, 2), release)
    with (
        peer(*steps) as destination,
        open_association(destination, [PROPOSAL], calling_ae_title="ONCUE", timeouts=LONG) as association,
    ):

        def make_ready() -> None:
            made.append(prepared(association, 2))
            ready.set()

        assert association.store(prepared(association, 1), meanwhile=make_ready) == 0
        assert association.store(made[0]) == 0
    assert waited == [True]


def test_a_file_is_closed_when_the_peer_breaks_off_in_the_middle_of_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(8 << 20))
    source = FileSource(path, 0)
    with (
        peer(accept, lambda connection: connection.close()) as destination,
        open_association(destination, [PROPOSAL], calling_ae_title="ONCUE", timeouts=SHORT) as association,
    ):
        request = association.prepare(PROPOSAL, "1.2.1", source)
        with pytest.raises(PeerUnreachable, match="broke the association off"):
            association.store(request)
    with pytest.raises(OSError, match="Bad file descriptor"):
        source.read_into([memoryview(bytearray(1))])


def _lengths(received: bytes | bytearray) -> list[int]:
    found, at = [], 0
    while at < len(received):
        _, length = pdus.HEADER.unpack_from(received, at)
        found.append(length)
        at += pdus.HEADER.size + length
    return found
