"""A storage SCP that ends associations by itself after so many objects, in one of the ways that peers do."""

from __future__ import annotations

import contextlib
import itertools
import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

from dicom_gateway.errors import ConnectionLost, ProtocolViolation
from dicom_gateway.protocol import commands, pdus
from dicom_gateway.protocol.channel import Channel
from dicom_gateway.protocol.commands import Command
from dicom_gateway.protocol.pdus import ContextAnswer, ContextResult, Identification, PduType
from dicom_gateway.receiving import association_request

_SECONDS = 20.0
_MOST_BYTES = 1 << 20
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER of no time: closing resets the connection


class Ending(Enum):
    """How a peer ends an association."""

    RELEASE = "release"
    ABORT = "abort"
    RESET = "reset"
    CLOSE = "close"
    BEFORE_ANSWER = "before answer"
    """The next object is taken whole, and the connection closed without an answer."""


@dataclass
class EndingScp:
    """How it behaves, where it listens, the SOP Instance UIDs it answered by association, and all that were sent.

    ``pause_seconds`` is how long it takes over each answer; over the object that it chokes on it closes the connection.
    """

    after: int
    ending: Ending
    pause_seconds: float = 0.0
    chokes_on: str = ""
    port: int = 0
    associations: list[list[str]] = field(default_factory=list)
    requested: list[str] = field(default_factory=list)
    released: int = 0

    @property
    def stored(self) -> list[str]:
        """All that it answered with success."""
        return list(itertools.chain.from_iterable(self.associations))


@contextlib.contextmanager
def ending_scp(after: int, ending: Ending, *, pause_seconds: float = 0.0, chokes_on: str = "") -> Iterator[EndingScp]:
    """Run an SCP that takes one association at a time and ends each after so many objects."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        peer = EndingScp(after, ending, pause_seconds, chokes_on, server.getsockname()[1])

        def run() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection, contextlib.suppress(OSError, ConnectionLost, ProtocolViolation):
                    _serve(connection, peer)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield peer
        server.shutdown(socket.SHUT_RDWR)
    thread.join(_SECONDS)


def _serve(connection: socket.socket, peer: EndingScp) -> None:
    channel = Channel(connection, pdu_seconds=_SECONDS, send_seconds=_SECONDS)
    _accept(channel)
    stored: list[str] = []
    peer.associations.append(stored)
    while len(stored) < peer.after or peer.ending is Ending.BEFORE_ANSWER:
        request = _request(channel)
        if request is None:
            peer.released += 1
            channel.send(pdus.release_response())
            channel.finish()
            return
        context_id, command = request
        peer.requested.append(command.sop_instance_uid)
        if len(stored) == peer.after or command.sop_instance_uid == peer.chokes_on:
            return
        time.sleep(peer.pause_seconds)
        stored.append(command.sop_instance_uid)
        channel.send(pdus.command_pdus(context_id, commands.response(command, 0), maximum_pdu_bytes=16_384))
    _end(channel, connection, peer.ending)


def _accept(channel: Channel) -> None:
    request = channel.read_first(deadline=time.monotonic() + _SECONDS, longest_bytes=_MOST_BYTES)
    asked = association_request.decode(request.body)
    answers = [
        ContextAnswer(context.context_id, ContextResult.ACCEPTANCE, context.transfer_syntaxes[0])
        for context in asked.contexts
    ]
    ours = Identification(131_072, "1.2.3", "ENDING")
    channel.send(pdus.associate_accept(asked.titles, asked.application_context, answers, ours))


def _request(channel: Channel) -> tuple[int, Command] | None:
    """Read a request with its data set; None where the sender releases the association."""
    command = bytearray()
    while True:
        pdu = channel.read_pdu(idle_seconds=_SECONDS, longest_bytes=_MOST_BYTES)
        if pdu.kind is PduType.RELEASE_RQ:
            return None
        for fragment in pdus.fragments(pdu.body):
            if fragment.is_command:
                command += fragment.content
            elif fragment.is_last:
                return fragment.context_id, commands.decode(bytes(command))


def _end(channel: Channel, connection: socket.socket, ending: Ending) -> None:
    if ending is Ending.RELEASE:
        channel.send(pdus.release_request())
        channel.finish()
    elif ending is Ending.ABORT:
        channel.send(pdus.abort_by_user())
    elif ending is Ending.RESET:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
