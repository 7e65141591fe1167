"""The decoder: a process that decodes what it is sent until the worker is gone, within limits that it cannot lift.

It is started with one connection and nothing else of the worker's: no database, no settings, no other file. Whatever
a codec does here, the worker sees an answer, or the end of the process.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from workers.decoding.codecs import Frame, FrameMismatch, decode, load
from workers.decoding.encoded_frames import FrameLayout
from workers.decoding.limits import Allowance
from workers.decoding.messages import Answer, Outcome, Request, receive_request, send_answer
from workers.decoding.shared_frames import SharedFrames

Decode = Callable[[Sequence[bytes], str, FrameLayout], Iterator[Frame]]

_GROWN_BYTES = 1_000_000_000
_MOST_FILES = 64
_MUCH = 0.75
"""A codec that fails after so much of its room was used is taken to have failed for want of memory: few say so."""


def main() -> None:
    """Serve the connection whose descriptor is the first argument."""
    connection = socket.socket(fileno=int(sys.argv[1]))
    load()
    serve(connection, decode)


def serve(connection: socket.socket, decode_frames: Decode) -> None:
    """Answer requests until the other side is gone."""
    # What a library warns of may quote what it read.
    warnings.simplefilter("ignore")
    _give_up_rights()
    at_rest = _address_space("VmSize")
    while (received := receive_request(connection)) is not None:
        request, descriptor = received
        answer = _answer(request, descriptor, decode_frames, at_rest)
        send_answer(connection, answer)


def _give_up_rights() -> None:
    """No core file, which would hold pixels; no other file either; few descriptors; the first to go without memory."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    most = min(_MOST_FILES, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _answer(request: Request, descriptor: int, decode_frames: Decode, at_rest: int) -> Answer:
    try:
        shared = SharedFrames(descriptor, request.lengths, request.layout)
    finally:
        os.close(descriptor)
    peak = _address_space("VmPeak")
    room = _limit(request.allowance)
    try:
        outcome, error = _decode_into(shared, request, decode_frames)
    finally:
        _lift()
    grown_to = _address_space("VmPeak")
    if outcome is Outcome.UNREADABLE and grown_to > max(peak, room - (1 - _MUCH) * request.allowance.room_bytes):
        outcome = Outcome.OUT_OF_MEMORY
    return Answer(outcome, error, grown=grown_to - at_rest > _GROWN_BYTES)


def _decode_into(shared: SharedFrames, request: Request, decode_frames: Decode) -> tuple[Outcome, str]:
    """Decode all frames of a request; return what became of it, and the class of what a codec raised."""
    places = shared.decoded()
    done = 0
    try:
        for place, frame in zip(
            places, decode_frames(list(shared.encoded()), request.syntax, request.layout), strict=False
        ):
            if frame.shape != place.shape:
                raise FrameMismatch  # noqa: TRY301 - as a codec of ours does
            place[...] = frame
            done += 1
    except MemoryError as error:
        return Outcome.OUT_OF_MEMORY, type(error).__name__
    except FrameMismatch as error:
        return Outcome.INCONSISTENT, type(error).__name__
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 - the process edge: a codec in Rust panics with a BaseException
        return Outcome.UNREADABLE, type(error).__name__
    return (Outcome.DECODED if done == len(places) else Outcome.INCONSISTENT), ""


def _limit(allowance: Allowance) -> int:
    """Set the limits of one request; return the end of the address space.

    Processor time ends the process with SIGXCPU. The alarm is the worker's own patience and a little more: it counts
    where the worker has died meanwhile.
    """
    end = _address_space("VmSize") + allowance.room_bytes
    if end > allowance.room_bytes:  # where the kernel does not say what is used, nothing can be limited
        _set_soft(resource.RLIMIT_AS, end)
    used = resource.getrusage(resource.RUSAGE_SELF)
    _set_soft(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime) + allowance.cpu_seconds + 1)
    signal.setitimer(signal.ITIMER_REAL, allowance.wall_seconds + 5)
    return end


def _lift() -> None:
    signal.setitimer(signal.ITIMER_REAL, 0)
    _set_soft(resource.RLIMIT_AS, resource.getrlimit(resource.RLIMIT_AS)[1])
    _set_soft(resource.RLIMIT_CPU, resource.getrlimit(resource.RLIMIT_CPU)[1])


def _set_soft(limit: int, value: int) -> None:
    hard = resource.getrlimit(limit)[1]
    soft = value if resource.RLIM_INFINITY in {hard, value} else min(value, hard)
    resource.setrlimit(limit, (soft, hard))


def _address_space(key: str) -> int:
    """Return VmSize or VmPeak of this process in bytes; 0 where the system does not say."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except FileNotFoundError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(f"{key}:")), 0)


if __name__ == "__main__":
    main()
