"""HTTP exchanges with services that keep to the protocol, and with those that do not."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from dicom_gateway.errors import PeerAnswerInvalid, PeerUnreachable
from dicom_gateway.http_exchange import Deadline, HttpAnswer, HttpRequest, ServiceTooSlow, exchange
from dicom_gateway.tls.connecting import connected
from tests.support.stow_service import Service

GET = HttpRequest("GET", "/dicom-web/studies", {"Accept": "application/dicom+json"})


@contextlib.contextmanager
def answering(*pieces: bytes, then_wait: bool = False) -> Iterator[tuple[Service, list[bytes]]]:
    """Run a service that answers one request with these bytes, and closes then or waits for the end of the test."""
    received: list[bytes] = []
    done = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def run() -> None:
            with contextlib.suppress(OSError):
                connection, _ = server.accept()
                with connection:
                    received.append(connection.recv(65_536))
                    for piece in pieces:
                        connection.sendall(piece)
                    if then_wait:
                        done.wait(20)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield Service("127.0.0.1", server.getsockname()[1]), received
        done.set()
    thread.join(20)


def asked(service: Service, request: HttpRequest = GET, *, seconds: float = 20) -> HttpAnswer:
    with contextlib.closing(connected(service, connect_seconds=5, handshake_seconds=5)) as connection:
        return exchange(connection, service, request, deadline=Deadline(seconds), most_bytes=1 << 20)


def test_a_question_without_a_body_is_answered() -> None:
    with answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]") as (service, received):
        assert asked(service) == HttpAnswer(200, b"[]")
    lines = received[0].decode().split("\r\n")
    assert lines[0] == "GET /dicom-web/studies HTTP/1.1"
    assert f"Host: 127.0.0.1:{service.port}" in lines
    assert "Connection: close" in lines
    assert not any(line.startswith("Content-Length") for line in lines)


def test_one_deadline_ends_every_exchange_that_it_is_for() -> None:
    deadline = Deadline(1)

    def ask(service: Service) -> HttpAnswer:
        with contextlib.closing(connected(service, connect_seconds=5, handshake_seconds=5)) as connection:
            return exchange(connection, service, GET, deadline=deadline, most_bytes=1 << 20)

    with answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]") as (service, _):
        assert ask(service) == HttpAnswer(200, b"[]")
    with answering(b"HTTP/1.1 200 OK\r\n", then_wait=True) as (service, _), pytest.raises(ServiceTooSlow):
        ask(service)


def test_an_answer_in_chunks_is_put_together() -> None:
    chunks = b"HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n[\r\n1\r\n]\r\n0\r\n\r\n"
    with answering(chunks) as (service, _):
        assert asked(service) == HttpAnswer(202, b"[]")


@pytest.mark.parametrize(
    "content",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\x02\x00" * 40,
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X-Filler: 1\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
    ],
)
def test_what_is_no_answer_of_http_is_told_apart_from_silence(content: bytes) -> None:
    with answering(content) as (service, _), pytest.raises(PeerAnswerInvalid):
        asked(service)


def test_a_service_that_closes_without_a_word_is_unreachable() -> None:
    with answering() as (service, _), pytest.raises(PeerUnreachable, match="broke the connection off"):
        asked(service)


@pytest.mark.parametrize(
    "begin", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[", b"HTT"]
)
def test_an_answer_that_does_not_end_is_given_up_at_the_deadline(begin: bytes) -> None:
    with answering(begin, then_wait=True) as (service, _), pytest.raises(ServiceTooSlow, match="in time"):
        asked(service, seconds=0.3)
