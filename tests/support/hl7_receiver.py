"""An HL7 v2 receiver for tests: it takes messages over MLLP, keeps them, and answers as it is told to."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import hl7

from tests.support.certificates import Issued

Answering = Callable[[socket.socket, hl7.Message], None]


@dataclass
class Hl7Receiver:
    """A running receiver: its port, and the messages that it read whole, as they came and taken apart."""

    port: int
    raw: list[bytes] = field(default_factory=list)
    messages: list[hl7.Message] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"mllp://127.0.0.1:{self.port}"


@contextlib.contextmanager
def hl7_receiver(*answers: Answering, identity: Issued | None = None, encoding: str = "utf-8") -> Iterator[Hl7Receiver]:
    """Run a receiver until the block ends; the last of the answers is given to all further messages."""
    context = None
    if identity is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(identity.certificate, identity.key)
    waiting = list(answers)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        receiver = Hl7Receiver(listening.getsockname()[1])

        def serve(plain: socket.socket) -> None:
            with contextlib.suppress(OSError), plain:
                plain.settimeout(20)
                connection = plain if context is None else context.wrap_socket(plain, server_side=True)
                with connection:
                    message = _block(connection)
                    if message is None:
                        return
                    receiver.raw.append(message)
                    receiver.messages.append(hl7.parse(message, encoding=encoding))
                    answer = waiting.pop(0) if len(waiting) > 1 else waiting[0]
                    answer(connection, receiver.messages[-1])

        def run() -> None:
            with contextlib.suppress(OSError):
                while True:
                    serve(listening.accept()[0])

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield receiver
        listening.shutdown(socket.SHUT_RDWR)
    thread.join(20)


def acknowledging(code: str = "AA", *, error: str = "", control_id: str | None = None) -> Answering:
    """Return what acknowledges with a code, and an error code (ERR-3) where one is given."""

    def answer(connection: socket.socket, message: hl7.Message) -> None:
        about = str(message["MSH.F10"]) if control_id is None else control_id
        lines = ["MSH|^~\\&|RIS|||ONCUE|20260301||ACK|1|P|2.5.1", f"MSA|{code}|{about}|Mueller, Anna 4711"]
        if error:
            lines.append(f"ERR|||{error}^SECRET^HL70357|E||||Mueller, Anna 4711")
        connection.sendall(b"\x0b" + "\r".join(lines).encode() + b"\r\x1c\r")

    return answer


def writing(*pieces: bytes) -> Answering:
    """Return what writes bytes and then closes the connection."""

    def answer(connection: socket.socket, _: hl7.Message) -> None:
        for piece in pieces:
            connection.sendall(piece)

    return answer


def silent(connection: socket.socket, _: hl7.Message) -> None:
    """Say nothing, until the other side has had enough."""
    connection.recv(1)


def dripping(connection: socket.socket, _: hl7.Message) -> None:
    """Answer a byte at a time, without an end."""
    pause = threading.Event()
    connection.sendall(b"\x0b")
    while not pause.wait(0.05):
        connection.sendall(b"M")


def _block(connection: socket.socket) -> bytes | None:
    received = b""
    while not received.endswith(b"\x1c\r"):
        piece = connection.recv(65_536)
        if not piece:
            return None
        received += piece
    assert received.startswith(b"\x0b")
    return received[1:-2]
