"""Peers that hold up, break or never begin a TLS handshake (PS3.15 B.12)."""

from __future__ import annotations

import contextlib
import ssl

import pytest

from tests.support.attacked_gateway import under_attack
from tests.support.attacked_tls import Secured
from tests.support.hostile import Hostile, at_once, connections
from tests.support.known_peer import client_context
from tests.support.pdus import association_request

pytestmark = pytest.mark.slow

_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"  # the first bytes of a ClientHello of 512 bytes


@pytest.mark.parametrize("greeting", [b"", b"\x16", _HELLO], ids=["silent", "byte", "half a hello"])
def test_handshakes_that_never_end_keep_no_known_peer_out(secured: Secured, greeting: bytes) -> None:
    attack = connections(secured.port, 100, greeting)
    with under_attack(secured.gateway, known=secured.known()) as peer, attack:
        peer.asks(5)


def test_silence_at_the_tls_port_is_not_felt_at_the_plain_one(secured: Secured) -> None:
    with under_attack(secured.gateway) as peer, connections(secured.port, 100):
        peer.asks(5)


def test_a_handshake_that_drips_is_cut_at_its_deadline(secured: Secured) -> None:
    with under_attack(secured.gateway, known=secured.known()) as peer, Hostile(secured.port) as slow:
        slow.socket.settimeout(15)
        for byte in _HELLO:
            slow.send(bytes([byte]))
            peer.asks(1)
        assert slow.is_closed()


@pytest.mark.parametrize(
    "greeting",
    [association_request(), b"GET / HTTP/1.1\r\n\r\n", _HELLO + bytes(600), b"\x16\x03\x01\xff\xff" + b"\xff" * 70_000],
    ids=["plain DICOM", "HTTP", "zeros", "noise"],
)
def test_what_is_no_handshake_is_turned_away_and_answered_with_no_dicom(secured: Secured, greeting: bytes) -> None:
    with under_attack(secured.gateway, known=secured.known()), connections(secured.port, 20, greeting) as strangers:
        for stranger in strangers:
            with contextlib.suppress(ConnectionError):
                assert stranger.socket.recv(1) in {b"", b"\x15"}  # nothing, or a TLS alert
            assert stranger.is_closed()


def test_a_flood_without_certificates_is_kept_out_and_makes_few_lines_and_rows(secured: Secured) -> None:
    gateway, tls = secured.gateway, client_context(secured.authority)

    def ask(_: int) -> None:
        for _ in range(50):
            with contextlib.suppress(OSError):
                hostile = Hostile(secured.port)
                with tls.wrap_socket(hostile.socket, server_hostname="127.0.0.1") as connection:
                    connection.sendall(association_request())
                    assert connection.recv(1) == b""

    rows, lines = gateway.rows(), len(gateway.log_lines())
    with under_attack(gateway, known=secured.known()):
        at_once(4, ask)
    assert gateway.rows() - rows < 350
    assert len(gateway.log_lines()) - lines < 150


def test_a_secured_peer_that_leaves_without_a_goodbye_leaves_nothing(secured: Secured) -> None:
    tls = secured.client()

    def leave(_: int) -> None:
        for _ in range(20):
            hostile = Hostile(secured.port)
            with tls.wrap_socket(hostile.socket, server_hostname="127.0.0.1") as connection:
                connection.sendall(association_request())
                with contextlib.suppress(ssl.SSLError, OSError):
                    connection.recv(1)

    with under_attack(secured.gateway, known=secured.known()):
        at_once(4, leave)
