from __future__ import annotations

import contextlib
import resource
import socket
import struct
import threading
from collections.abc import Iterator

import pytest

from dicom_gateway.config import GatewaySettings
from dicom_gateway.receiving.listener import Listener
from dicom_gateway.receiving.peer_admission import PeerAdmission
from dicom_gateway.status import Status
from storage.database import Database, utc_now
from storage.objects import ObjectStore
from tests.support.gateways import Running, half_received, running_gateway, until
from tests.support.senders import LOOPBACK, RawSender, associate_request, ct_image, echoes, encoded, store

_IMAGE = ct_image()
_UID, _CONTENT = str(_IMAGE.SOPInstanceUID), encoded(_IMAGE)

pytestmark = pytest.mark.slow


@pytest.fixture
def running(sqlite_database: Database, objects: ObjectStore) -> Iterator[Running]:
    with running_gateway(sqlite_database, objects, acse_seconds=2, pdu_seconds=1, maximum_associations=4) as gateway:
        yield gateway


@contextlib.contextmanager
def connections(port: int, count: int, greeting: bytes = b"") -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(socket.create_connection((LOOPBACK, port), timeout=20)) for _ in range(count)]
        for connection in opened:
            # The listener may have displaced this one already; then there is nobody to greet.
            with contextlib.suppress(OSError):
                connection.sendall(greeting)
        yield opened


@pytest.mark.parametrize(
    "greeting",
    [b"", b"\x01\x00\x00\x00\x03\xe8", b"\x01", b"GET / HTTP/1.1\r\n\r\n"],
    ids=["silent", "half", "byte", "http"],
)
def test_peers_that_never_finish_their_request_keep_nobody_out(running: Running, greeting: bytes) -> None:
    with connections(running.port, 30, greeting):
        assert echoes(running.port)
        assert store(running.port, ct_image()) == [Status.SUCCESS]


def test_a_connection_that_asks_for_nothing_is_closed_after_a_while(running: Running) -> None:
    with connections(running.port, 1) as (silent,):
        assert silent.recv(1) == b""


def test_a_request_that_drips_is_cut_at_its_deadline_however_long_it_drips(running: Running) -> None:
    request = associate_request()
    with connections(running.port, 1) as (slow,):
        slow.settimeout(0.2)
        for byte in request[:60]:
            with contextlib.suppress(TimeoutError):
                if slow.recv(1) == b"":
                    return
            with contextlib.suppress(OSError):
                slow.sendall(bytes([byte]))
    pytest.fail("the listener waited for a request that took longer than its deadline")


def test_a_pdu_that_drips_is_cut_at_its_deadline(running: Running) -> None:
    with RawSender(running.port) as sender:
        sender.send_command(_UID)
        sender.socket.sendall(struct.pack(">BBL", 0x04, 0, 10_000))
        sender.socket.sendall(b"\0" * 10)
        assert sender.is_cut()
    until(lambda: running.events("association:closed") != [], "the end of the association")


@pytest.mark.parametrize("established", [False, True], ids=["first PDU", "data"])
def test_a_pdu_of_four_gigabytes_is_cut_and_costs_no_memory(running: Running, established: bool) -> None:
    header = struct.pack(">BBL", 0x04 if established else 0x01, 0, 0xFFFFFFFF)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with contextlib.ExitStack() as stack:
        if established:
            connection = stack.enter_context(RawSender(running.port)).socket
        else:
            (connection,) = stack.enter_context(connections(running.port, 1))
        connection.sendall(header)
        sent = 0
        with contextlib.suppress(OSError):
            for _ in range(400):
                connection.sendall(bytes(1 << 20))
                sent += 1
        assert sent < 400
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10
    assert echoes(running.port)


def test_random_bytes_after_the_request_end_that_association_alone(running: Running) -> None:
    with RawSender(running.port) as hostile, RawSender(running.port) as honest:
        hostile.socket.sendall(bytes(range(7, 256)) * 100)
        assert hostile.is_cut()
        assert honest.store(_UID, _CONTENT) == Status.SUCCESS


@pytest.mark.parametrize(
    "fragment",
    [b"\xff" * 200, struct.pack("<HHL", 0, 0x0100, 2) + b"\x77\x77", b"\x08\x00\x15\x11\xff\xff\xff\xff" * 8000],
    ids=["noise", "unknown command", "nested"],
)
def test_a_broken_command_ends_that_association_alone(running: Running, fragment: bytes) -> None:
    with RawSender(running.port) as hostile:
        hostile.send_fragment(fragment, control=0b11)
        assert hostile.is_cut()
    assert echoes(running.port)


def test_a_command_without_end_is_cut(running: Running) -> None:
    with RawSender(running.port) as hostile, contextlib.suppress(OSError):
        for _ in range(64):
            hostile.send_fragment(bytes(8000), control=0b01)
        assert hostile.is_cut()
    assert echoes(running.port)


def test_a_data_set_without_a_command_is_cut(running: Running) -> None:
    with RawSender(running.port) as hostile:
        hostile.send_fragment(_CONTENT, control=0b10)
        assert hostile.is_cut()
    assert echoes(running.port)


def test_a_sender_that_does_not_wait_for_answers_gets_them_one_after_another(
    running: Running, objects: ObjectStore
) -> None:
    images = [ct_image(number=number) for number in range(20)]
    with RawSender(running.port) as hasty:
        for image in images:
            hasty.send_command(str(image.SOPInstanceUID))
            hasty.send_fragment(encoded(image), control=0b10)
        assert [hasty.read_status() for _ in images] == [Status.SUCCESS] * 20
    assert running.gateway.drain(30)
    assert len(running.instances()) == 20
    assert half_received(objects) == []


def test_a_sender_that_never_takes_its_answers_costs_no_memory_and_is_cut(
    sqlite_database: Database, objects: ObjectStore
) -> None:
    with running_gateway(sqlite_database, objects, network_seconds=1) as running, RawSender(running.port) as deaf:
        deaf.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with contextlib.suppress(OSError):
            while True:
                deaf.send_command(_UID, field=0x0030, data_set=0x0101)
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 << 10
        assert echoes(running.port)


def test_an_image_that_breaks_off_leaves_nothing_behind(running: Running, objects: ObjectStore) -> None:
    with RawSender(running.port) as sender:
        sender.send_command(_UID)
        sender.send_fragment(_CONTENT[:200], control=0)
    until(lambda: running.events("association:closed") != [], "the end of the association")
    assert half_received(objects) == []
    assert running.instances() == ()


def test_a_command_in_pieces_and_its_data_in_one_pdu_are_understood(running: Running) -> None:
    with RawSender(running.port) as sender:
        pieces: list[bytes] = []
        sender.send_fragment = lambda content, *, control: pieces.append(  # type: ignore[method-assign]  # gathers the PDUs
            struct.pack(">LBB", len(content) + 2, 1, control) + content
        )
        sender.send_command(_UID)
        sender.send_fragment(_CONTENT[:100], control=0)
        sender.send_fragment(_CONTENT[100:], control=0b10)
        body = b"".join(pieces)
        sender.socket.sendall(struct.pack(">BBL", 0x04, 0, len(body)) + body)
        assert sender.read_status() == Status.SUCCESS


def test_a_listener_that_waits_for_peers_ends_at_once(sqlite_database: Database, objects: ObjectStore) -> None:
    settings = GatewaySettings(port=0)
    listener = Listener(
        settings,
        sqlite_database,
        objects,
        process_id="gateway-1",
        clock=utc_now,
        admission=PeerAdmission(sqlite_database, settings, utc_now),
    )
    listener.start()
    stopping = threading.Thread(target=listener.stop, daemon=True)
    stopping.start()
    stopping.join(20)
    assert not stopping.is_alive()


def test_addresses_outside_the_allowed_networks_are_turned_away(
    sqlite_database: Database, objects: ObjectStore
) -> None:
    with (
        running_gateway(sqlite_database, objects, allowed_networks=("10.0.0.0/8",), admit_loopback=False) as running,
        connections(running.port, 1, associate_request()) as (stranger,),
        contextlib.suppress(ConnectionResetError),
    ):
        assert stranger.recv(1) == b""


def test_addresses_inside_the_allowed_networks_come_in(sqlite_database: Database, objects: ObjectStore) -> None:
    with running_gateway(sqlite_database, objects, allowed_networks=("10.0.0.0/8", "127.0.0.0/8")) as running:
        assert echoes(running.port)
