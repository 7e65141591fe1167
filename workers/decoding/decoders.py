"""The decoders of one worker process: started when first needed, kept for the next image, replaced when they die."""

from __future__ import annotations

import atexit
import os
import threading
from collections import deque
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workers.decoding.decoder_process import PROGRAM, DecoderKilled, DecoderProcess
from workers.decoding.encoded_frames import EncodedFrames
from workers.decoding.limits import DecodingLimits
from workers.errors import DecoderCrashed, WorkerError

MOST_DECODERS = 4
_TRIES = 2

Decoded = tuple[EncodedFrames, list[NDArray[np.integer[Any]]]]


@dataclass(slots=True)
class _Task:
    """A request in hand, and how often it was begun."""

    request: EncodedFrames
    process: DecoderProcess
    begun: int = 1


class Decoders:
    """Decodes requests in several processes at once. Safe for several threads, each of which gets one at least.

    ``most`` is how many processes may work, and are kept; ``program`` is the module that they run.
    """

    def __init__(self, *, most: int, limits: DecodingLimits | None = None, program: str = PROGRAM) -> None:
        self._most, self._program = most, program
        self._limits = limits or DecodingLimits()
        self._lock = threading.Lock()
        self._idle: list[DecoderProcess] = []
        self._lent = 0

    def decode(self, requests: Iterable[EncodedFrames]) -> Generator[Decoded, None, None]:
        """Yield each request with its decoded frames, in order; a few are decoded ahead of the one that is yielded.

        UnreadableInstance, PixelDataInconsistent, DecoderCrashed, DecoderOutOfMemory or DecoderTooSlow for the first
        request that fails. A process that is killed from outside costs nothing but time.
        """
        at_work: deque[_Task] = deque()
        try:
            for request in requests:
                process = self._lend(needed=not at_work)
                while process is None:
                    yield self._finish(at_work)
                    process = self._lend(needed=not at_work)
                at_work.append(self._begin(request, process))
            while at_work:
                yield self._finish(at_work)
        finally:
            for task in at_work:
                self._give_up(task.process)

    def close(self) -> None:
        """End the processes that are not at work."""
        with self._lock:
            idle, self._idle = self._idle, []
        for process in idle:
            process.end()

    def _begin(self, request: EncodedFrames, process: DecoderProcess) -> _Task:
        task = _Task(request, process)
        try:
            try:
                process.begin(request, self._limits.allowance(request))
            except DecoderKilled:
                self._begin_again(task)
        except BaseException:
            self._give_up(task.process)
            raise
        return task

    def _begin_again(self, task: _Task) -> None:
        """Give a task whose process was killed to a new one; DecoderCrashed where that happens each time."""
        task.process.end()
        if task.begun >= _TRIES:
            raise DecoderCrashed(
                f"object {task.request.digest[:12]}: the decoder was killed {_TRIES} times while it decoded this;"
                " see whether the machine ran out of memory"
            )
        task.begun += 1
        task.process = DecoderProcess(self._program)
        try:
            task.process.begin(task.request, self._limits.allowance(task.request))
        except DecoderKilled:
            self._begin_again(task)

    def _finish(self, at_work: deque[_Task]) -> Decoded:
        """Wait for the oldest task and give its process back."""
        task = at_work[0]
        while True:
            try:
                frames = task.process.finish()
            except DecoderKilled:
                self._begin_again(task)
            except WorkerError:
                at_work.popleft()
                self._give_back(task.process)
                raise
            else:
                at_work.popleft()
                self._give_back(task.process)
                return task.request, frames

    def _lend(self, *, needed: bool) -> DecoderProcess | None:
        """Return an idle process, or a new one; None where enough are at work and none is ``needed``."""
        with self._lock:
            if self._lent >= self._most and not needed:
                return None
            self._lent += 1
            idle = self._idle.pop() if self._idle else None
        if idle is not None:
            if idle.is_running:
                return idle
            idle.end()
        try:
            return DecoderProcess(self._program)
        except BaseException:
            with self._lock:
                self._lent -= 1
            raise

    def _give_back(self, process: DecoderProcess) -> None:
        with self._lock:
            self._lent -= 1
            keep = process.is_running and not process.is_worn and len(self._idle) < self._most
            if keep:
                self._idle.append(process)
        if not keep:
            process.end()

    def _give_up(self, process: DecoderProcess) -> None:
        """End a process whose answer nobody waits for any more."""
        with self._lock:
            self._lent -= 1
        process.end()


@cache
def process_decoders() -> Decoders:
    """Return the decoders of this process, made at the first call and ended with the process."""
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    decoders = Decoders(most=min(MOST_DECODERS, processors))
    atexit.register(decoders.close)
    return decoders
