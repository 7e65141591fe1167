"""One decoder, seen from the worker: a child process that has at most one request in hand."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workers.decoding.encoded_frames import EncodedFrames
from workers.decoding.limits import Allowance
from workers.decoding.messages import Answer, Malformed, Outcome, Request, receive_answer, send_request
from workers.decoding.shared_frames import SharedFrames, needed_bytes, open_memory
from workers.errors import (
    DecoderCrashed,
    DecoderOutOfMemory,
    DecoderTooSlow,
    PixelDataInconsistent,
    UnreadableInstance,
    WorkerError,
)

PROGRAM = "workers.decoding.child"

_SLOW = frozenset({signal.SIGXCPU, signal.SIGALRM})
_FROM_OUTSIDE = frozenset({signal.SIGKILL, signal.SIGTERM})
_KEPT = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "SYSTEMROOT")
_PIECE = 4096
_LAST_CHANCE_SECONDS = 0.2


class DecoderKilled(Exception):
    """A decoder was ended from outside, by the kernel or an operator: its request may be sent again."""


class DecoderProcess:
    """A running decoder.

    ``program`` is the module that it runs. It inherits no environment that could hold a secret, no descriptor but its
    end of the connection, and no signal of the worker's terminal.
    """

    def __init__(self, program: str = PROGRAM) -> None:
        self._connection, its_end = socket.socketpair()
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [sys.executable, "-P", "-m", program, str(its_end.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=_environment(),
                pass_fds=(its_end.fileno(),),
                start_new_session=True,
            )
        except BaseException:
            self._connection.close()
            raise
        finally:
            its_end.close()
        self._request: EncodedFrames | None = None
        self._shared: SharedFrames | None = None
        self._deadline = 0.0
        self.is_worn = False
        """Whether it has grown so much that it should be replaced."""

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the process has not ended."""
        return self._process.poll() is None

    def begin(self, request: EncodedFrames, allowance: Allowance) -> None:
        """Send a request; DecoderKilled where the process has ended meanwhile."""
        lengths = tuple(map(len, request.frames))
        descriptor = open_memory(needed_bytes(lengths, request.layout))
        try:
            self._shared = SharedFrames(descriptor, lengths, request.layout)
            self._shared.put_encoded(request.frames)
            self._deadline = time.monotonic() + allowance.wall_seconds
            self._connection.settimeout(allowance.wall_seconds)
            send_request(self._connection, Request(request.syntax, request.layout, lengths, allowance), descriptor)
        except ConnectionError:
            raise DecoderKilled from None
        finally:
            os.close(descriptor)
        self._request = request

    def finish(self) -> list[NDArray[np.integer[Any]]]:
        """Wait for the answer and return the decoded frames.

        UnreadableInstance, PixelDataInconsistent, DecoderCrashed, DecoderOutOfMemory, DecoderTooSlow, or DecoderKilled.
        Where it is none of the first two, the process is gone afterwards.
        """
        request, shared = self._request, self._shared
        if request is None or shared is None:
            raise RuntimeError("nothing was begun")
        self._request = self._shared = None
        answer = self._receive(request)
        self.is_worn = answer.grown or answer.outcome is Outcome.OUT_OF_MEMORY
        if answer.outcome is Outcome.DECODED:
            return shared.decoded()
        raise _failure(answer, request)

    def end(self) -> None:
        """End the process, whatever it is doing."""
        self._connection.close()
        self._process.kill()
        self._process.wait()

    def _receive(self, request: EncodedFrames) -> Answer:
        try:
            answer = receive_answer(self._read)
        except TimeoutError:
            self.end()
            raise _too_slow(request) from None
        except (Malformed, OSError):
            answer = None
        if answer is None:
            raise self._death(request)
        return answer

    def _read(self) -> bytes:
        # An answer that lies there counts, however late it is looked for.
        self._connection.settimeout(max(self._deadline - time.monotonic(), _LAST_CHANCE_SECONDS))
        return self._connection.recv(_PIECE)

    def _death(self, request: EncodedFrames) -> Exception:
        """End what no longer answers and return why it does not."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_LAST_CHANCE_SECONDS * 10)
        ended_with = self._process.poll()
        self.end()
        number = -ended_with if ended_with is not None and ended_with < 0 else 0
        if number in _FROM_OUTSIDE:
            return DecoderKilled()
        if number in _SLOW:
            return _too_slow(request)
        how = signal.Signals(number).name if number else f"exit code {ended_with}"
        return DecoderCrashed(
            f"object {request.digest[:12]}: the decoder crashed ({how}) at {_named(request)};"
            " send the instance again uncompressed or exclude it"
        )


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return kept | {
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        # One thread, one heap: else what a process is allowed would depend on the machine's processors.
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "1",
    }


def _failure(answer: Answer, request: EncodedFrames) -> WorkerError:
    where, what = f"object {request.digest[:12]}", _named(request)
    if answer.outcome is Outcome.INCONSISTENT:
        return PixelDataInconsistent(f"{where}: other pixels than the header promises in {what}; send it again")
    if answer.outcome is Outcome.OUT_OF_MEMORY:
        return DecoderOutOfMemory(
            f"{where}: decoding {what} took more memory than {request.layout.rows}x{request.layout.columns} pixels may;"
            " send the instance again uncompressed or exclude it"
        )
    return UnreadableInstance(
        f"{where}: decoding {what} failed ({answer.error}); send the instance again or exclude it"
    )


def _too_slow(request: EncodedFrames) -> DecoderTooSlow:
    return DecoderTooSlow(
        f"object {request.digest[:12]}: decoding {_named(request)} took longer than"
        f" {request.layout.rows}x{request.layout.columns} pixels may; send the instance uncompressed or exclude it"
    )


def _named(request: EncodedFrames) -> str:
    from pydicom.uid import UID

    last = request.first + len(request.frames) - 1
    frames = f"frame {request.first}" if last == request.first else f"frames {request.first} to {last}"
    return f"{frames} of {UID(request.syntax).name}"
