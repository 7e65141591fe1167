from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator

import pytest

from dicom_gateway.errors import AssociationInterrupted, ConnectionLost, ProtocolViolation
from dicom_gateway.protocol import pdus
from dicom_gateway.protocol.channel import Channel
from dicom_gateway.protocol.pdus import PduType

_LONGEST = 1 << 20


@pytest.fixture
def ends() -> Iterator[tuple[Channel, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        peer = socket.create_connection(server.getsockname(), timeout=20)
        ours, _ = server.accept()
    with peer, ours:
        yield Channel(ours, pdu_seconds=1, send_seconds=1), peer


def data_pdu(content: bytes) -> bytes:
    return struct.pack(">BBL", 4, 0, len(content)) + content


def read(channel: Channel, *, idle_seconds: float = 20) -> bytes:
    return bytes(channel.read_pdu(idle_seconds=idle_seconds, longest_bytes=_LONGEST).body)


def test_pdus_come_out_as_they_went_in_however_they_are_cut(ends: tuple[Channel, socket.socket]) -> None:
    channel, peer = ends
    sent = [bytes([number]) * size for number, size in enumerate((0, 1, 70_000, 300_000, 16_384, 900_000, 3))]
    stream = b"".join(map(data_pdu, sent))

    def send() -> None:
        for at in range(0, len(stream), 10_007):
            peer.sendall(stream[at : at + 10_007])

    sending = threading.Thread(target=send)
    sending.start()
    assert [read(channel) for _ in sent] == sent
    sending.join()


def test_whether_there_is_more_is_known_without_waiting(ends: tuple[Channel, socket.socket]) -> None:
    channel, peer = ends
    assert not channel.has_more()
    peer.sendall(data_pdu(b"one") + data_pdu(b"two"))
    assert read(channel) == b"one"
    assert channel.has_more()
    assert read(channel) == b"two"
    assert not channel.has_more()
    channel.interrupt("gateway_stopping")
    assert channel.has_more()
    with pytest.raises(AssociationInterrupted):
        read(channel)


def test_a_pdu_that_drips_has_an_end_and_so_has_silence(ends: tuple[Channel, socket.socket]) -> None:
    channel, peer = ends
    with pytest.raises(ProtocolViolation) as silent:
        read(channel, idle_seconds=0.05)
    assert silent.value.code == "association_silent"
    stopping = threading.Event()

    def drip() -> None:
        with contextlib.suppress(OSError):
            while not stopping.wait(0.01):
                peer.sendall(b"\4")

    dripping = threading.Thread(target=drip)
    peer.sendall(struct.pack(">BBL", 4, 0, 100_000))
    dripping.start()
    with pytest.raises(ProtocolViolation) as slow:
        read(channel)
    stopping.set()
    dripping.join()
    assert slow.value.code == "pdu_too_slow"


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (b"\x04\0\xff\xff\xff\xff", "pdu_too_long"),
        (b"\x09\0\0\0\0\0", "unrecognized_pdu"),
        (b"GET / ", "unrecognized_pdu"),
    ],
    ids=["4 GiB", "type 9", "http"],
)
def test_a_header_that_lies_is_refused_before_anything_is_waited_for(
    ends: tuple[Channel, socket.socket], header: bytes, code: str
) -> None:
    channel, peer = ends
    peer.sendall(header)
    with pytest.raises(ProtocolViolation) as caught:
        read(channel)
    assert caught.value.code == code


def test_a_peer_that_goes_is_noticed(ends: tuple[Channel, socket.socket]) -> None:
    channel, peer = ends
    peer.sendall(data_pdu(b"half")[:8])
    peer.close()
    with pytest.raises(ConnectionLost):
        read(channel)


def test_an_association_that_waits_can_be_interrupted_and_still_says_goodbye(
    ends: tuple[Channel, socket.socket],
) -> None:
    channel, peer = ends
    caught: list[AssociationInterrupted] = []
    entered = threading.Event()

    def wait() -> None:
        entered.set()
        try:
            read(channel)
        except AssociationInterrupted as error:
            caught.append(error)
            channel.send(pdus.abort(0))

    waiting = threading.Thread(target=wait)
    waiting.start()
    entered.wait()
    channel.interrupt("association_displaced")
    waiting.join(10)
    assert [error.code for error in caught] == ["association_displaced"]
    assert peer.recv(10)[0] == PduType.ABORT


def test_a_peer_that_takes_nothing_does_not_hold_the_writer(ends: tuple[Channel, socket.socket]) -> None:
    channel, _ = ends
    started = time.monotonic()
    with pytest.raises(ProtocolViolation) as caught:
        channel.send(bytes(64 << 20))
    assert caught.value.code == "answer_not_taken"
    assert time.monotonic() - started < 15


def test_the_last_pdu_arrives_although_the_peer_was_still_sending(ends: tuple[Channel, socket.socket]) -> None:
    channel, peer = ends
    peer.sendall(bytes(50_000))
    channel.send(pdus.abort(6))
    finishing = threading.Thread(target=channel.finish)
    finishing.start()
    assert peer.recv(10) == pdus.abort(6)
    assert peer.recv(1) == b""
    peer.close()
    finishing.join(10)
    assert not finishing.is_alive()
