"""A decoder whose frames say what is to go wrong: run in place of the real one, under the same limits.

A frame is a number, which is the value of its pixels, or ends with the name of a fault; a codestream without one is
decoded as it should be.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from workers.decoding.child import serve
from workers.decoding.codecs import Frame, decode
from workers.decoding.encoded_frames import FrameLayout

BABBLE = b"babble"
CRASH = b"crash"
EAT = b"eat"
ENDED = b"ended"
FORGET = b"forget"
HALF = b"half"
INHERITED = b"inherited"
RAISE = b"raise"
SILENT = b"silent"
SLEEP = b"sleep"
SPIN = b"spin"
SURPRISE = b"surprise"
WHO = b"who"
_CODESTREAM = b"\xff\x4f"


class Panic(BaseException):
    """What a codec in Rust raises."""


def misbehave(frames: Sequence[bytes], syntax: str, layout: FrameLayout) -> Iterator[Frame]:
    """Do what each frame names."""
    for content in frames:
        named = next((name for name in _FAULTS if content.rstrip(b"\0").endswith(name)), None)
        if named is not None:
            _FAULTS[named]()
        if content.startswith(_CODESTREAM):
            yield from decode([content], syntax, layout)
        elif content == FORGET:
            yield np.zeros((1, 1), layout.dtype)
        else:
            yield np.full(layout.shape, _value(content), layout.dtype)


def _value(content: bytes) -> int:
    if content == WHO:
        return os.getpid() % 65_536
    if content == INHERITED:
        files = len(list(Path("/proc/self/fd").iterdir()))
        return sum(name.startswith("ONCUE_") for name in os.environ) + 100 * files
    return int(content)


def _spin() -> None:
    while True:
        pass


def _eat() -> None:
    """Take memory until there is none."""
    eaten = []
    while True:
        eaten.append(np.ones(1_000_000))


def _eat_and_say_less() -> None:
    """Do the same as a codec in C does, which only says that it failed."""
    try:
        _eat()
    except MemoryError:
        raise RuntimeError("failed to decode image") from None


def _quote() -> None:
    raise ValueError("quoted from the file: Doe^Jane")


def _panic() -> None:
    raise Panic


def _babble() -> None:
    os.write(int(sys.argv[1]), b'{"outcome": "decoded"}\n')


_FAULTS: Mapping[bytes, Callable[[], object]] = {
    BABBLE: _babble,
    CRASH: lambda: ctypes.string_at(0),
    EAT: _eat,
    ENDED: lambda: os.kill(os.getpid(), signal.SIGKILL),
    HALF: _eat_and_say_less,
    RAISE: _quote,
    SILENT: lambda: os._exit(3),
    SLEEP: lambda: time.sleep(600),
    SPIN: _spin,
    SURPRISE: _panic,
}


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])), misbehave)
