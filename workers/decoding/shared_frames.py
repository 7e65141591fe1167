"""Memory that a worker and a decoder share for one request: encoded frames first, then room for the decoded ones."""

from __future__ import annotations

import fcntl
import mmap
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workers.decoding.encoded_frames import FrameLayout

_ALIGNMENT = 64


class SharedFrames:
    """One piece of memory and where in it each frame lies.

    The arrays that ``decoded`` gives are views: the memory stays until the last of them is gone.
    """

    def __init__(self, descriptor: int, lengths: Sequence[int], layout: FrameLayout) -> None:
        self._lengths, self._layout = lengths, layout
        self._start = -(-sum(lengths) // _ALIGNMENT) * _ALIGNMENT
        self.size_bytes = self._start + layout.frame_bytes * len(lengths)
        self._memory = mmap.mmap(descriptor, self.size_bytes)

    def put_encoded(self, frames: Iterable[bytes]) -> None:
        """Write the codestreams, one behind the other."""
        at = 0
        for frame in frames:
            self._memory[at : at + len(frame)] = frame
            at += len(frame)

    def encoded(self) -> Iterator[bytes]:
        """Yield each codestream."""
        at = 0
        for length in self._lengths:
            yield self._memory[at : at + length]
            at += length

    def decoded(self) -> list[NDArray[np.integer[Any]]]:
        """Return a view of each decoded frame."""
        size, layout = self._layout.frame_bytes, self._layout
        return [
            np.frombuffer(self._memory, layout.dtype, layout.frame_samples, self._start + size * index).reshape(
                layout.shape
            )
            for index in range(len(self._lengths))
        ]


def needed_bytes(lengths: Sequence[int], layout: FrameLayout) -> int:
    """Return how much memory a request takes."""
    return -(-sum(lengths) // _ALIGNMENT) * _ALIGNMENT + layout.frame_bytes * len(lengths)


def open_memory(size_bytes: int) -> int:
    """Return a descriptor of new memory that neither side can resize: what shrank under its reader would kill it."""
    if not hasattr(os, "memfd_create"):  # not Linux
        with tempfile.TemporaryFile() as file:
            file.truncate(size_bytes)
            return os.dup(file.fileno())
    descriptor = os.memfd_create("oncue-frames", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(descriptor, size_bytes)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
