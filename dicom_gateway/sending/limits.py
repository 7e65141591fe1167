"""How much a destination is given: objects for each association, bytes for each second, transfer syntaxes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

_BYTES_PER_KILOBYTE = 1000
_PIECE_SECONDS = 0.25
_LEAST_PIECE_BYTES = 1 << 10


@dataclass(frozen=True, slots=True)
class SendLimits:
    """What a destination sets for what it is sent; None sets nothing.

    ``kilobytes_per_second`` counts 1,000 bytes each, over all that is sent there at the same time. An object that can
    travel in none of ``transfer_syntaxes`` without being compressed or decompressed is not sent.
    """

    objects_per_association: int | None = None
    kilobytes_per_second: int | None = None
    transfer_syntaxes: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        for limit in (self.objects_per_association, self.kilobytes_per_second):
            if limit is not None and limit < 1:
                raise ValueError("a limit is 1 or more, or None")
        if self.transfer_syntaxes is not None and not self.transfer_syntaxes:
            raise ValueError("a destination wants one transfer syntax at least, or sets nothing")


class Pace:
    """A token bucket that all senders to a destination share: what they send together keeps its rate.

    It holds a quarter of a second's bytes. Whoever finds it empty waits until its own bytes are due, in the order of
    asking; nobody waits within the lock.
    """

    def __init__(self, kilobytes_per_second: int | None) -> None:
        self._bytes_per_second = kilobytes_per_second and kilobytes_per_second * _BYTES_PER_KILOBYTE
        self._lock = threading.Lock()
        self._due = time.monotonic()

    def pieces(self, window: memoryview) -> Iterator[memoryview]:
        """Cut what is to be sent into pieces small enough to keep the rate even; without one, it is one piece.

        A peer that hears nothing for long would give the association up.
        """
        if self._bytes_per_second is None:
            yield window
            return
        size = max(_LEAST_PIECE_BYTES, int(self._bytes_per_second * _PIECE_SECONDS))
        for at in range(0, len(window), size):
            yield window[at : at + size]

    def wait(self, count: int) -> float:
        """Wait until so many bytes may be sent, and return how many seconds that was."""
        if self._bytes_per_second is None:
            return 0.0
        now = time.monotonic()
        with self._lock:
            begin = max(self._due, now - _PIECE_SECONDS)
            self._due = begin + count / self._bytes_per_second
        seconds = max(begin - now, 0.0)
        if seconds:
            time.sleep(seconds)
        return seconds
