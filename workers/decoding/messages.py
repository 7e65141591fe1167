"""What a worker and a decoder say to each other: one line of JSON each way, so that no answer can run code."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import StrEnum

from workers.decoding.encoded_frames import FrameLayout
from workers.decoding.limits import Allowance

_PIECE = 65_536
_LONGEST_LINE = 1_000_000
_END = b"\n"


class Outcome(StrEnum):
    """What became of a request."""

    DECODED = "decoded"
    UNREADABLE = "unreadable"
    INCONSISTENT = "inconsistent"
    OUT_OF_MEMORY = "out-of-memory"


@dataclass(frozen=True, slots=True)
class Request:
    """Frames to decode; the codestreams, of these lengths, lie in the memory that comes with the line."""

    syntax: str
    layout: FrameLayout
    lengths: tuple[int, ...]
    allowance: Allowance


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a request, what was wrong with it, and whether the decoder has grown and should be replaced."""

    outcome: Outcome
    error: str = ""
    grown: bool = False


class Malformed(Exception):
    """The other side sent what is no message."""


def send_request(connection: socket.socket, request: Request, descriptor: int) -> None:
    """Send a request and the descriptor of its memory; OSError where the other side is gone."""
    line = json.dumps(asdict(request)).encode() + _END
    sent = socket.send_fds(connection, [line], [descriptor])
    connection.sendall(line[sent:])


def receive_request(connection: socket.socket) -> tuple[Request, int] | None:
    """Wait for a request and the descriptor of its memory; None where the other side is gone."""
    line, descriptors, _, _ = socket.recv_fds(connection, _PIECE, 1)
    rest = _line(lambda: connection.recv(_PIECE), line) if line else None
    if rest is None:
        return None
    content = json.loads(rest)
    request = Request(
        content["syntax"],
        FrameLayout(**content["layout"]),
        tuple(content["lengths"]),
        Allowance(**content["allowance"]),
    )
    return request, descriptors[0]


def send_answer(connection: socket.socket, answer: Answer) -> None:
    """Send an answer; OSError where the other side is gone."""
    connection.sendall(json.dumps(asdict(answer)).encode() + _END)


def receive_answer(read: Callable[[], bytes]) -> Answer | None:
    """Read an answer; None where the other side is gone, Malformed where that is no answer."""
    line = _line(read, b"")
    if line is None:
        return None
    try:
        content = json.loads(line)
        return Answer(Outcome(content["outcome"]), str(content["error"]), bool(content["grown"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Malformed from None


def _line(read: Callable[[], bytes], begun: bytes) -> bytes | None:
    """Read up to the end of a line; None where the other side is gone before."""
    line = bytearray(begun)
    while not line.endswith(_END):
        piece = read()
        if not piece:
            return None
        line += piece
        if len(line) > _LONGEST_LINE:
            raise Malformed
    return bytes(line)
