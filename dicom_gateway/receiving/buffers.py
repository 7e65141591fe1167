"""Memory for the beginnings of data sets: most images fit, and go to disk in one piece when they are complete."""

from __future__ import annotations

from collections import deque

BUFFER_BYTES = 1 << 20
_SPARE = 8


class Buffers:
    """Buffers of one size that are used again; an operating system gives them memory only where they are written."""

    def __init__(self) -> None:
        self._spare: deque[bytearray] = deque(maxlen=_SPARE)

    def take(self) -> bytearray:
        """Return a buffer of ``BUFFER_BYTES`` with whatever it held."""
        try:
            return self._spare.pop()
        except IndexError:
            return bytearray(BUFFER_BYTES)

    def give_back(self, buffer: bytearray) -> None:
        """Keep a buffer for the next one that asks."""
        self._spare.append(buffer)
