"""How `oncue` processes are ended: the first signal in order, a second one at once."""

from __future__ import annotations

import signal
import threading
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Self


@dataclass(frozen=True, slots=True)
class Interruption:
    """``stop`` is set by the first SIGINT or SIGTERM, ``hurry`` by the second.

    The handler runs in the main thread, between any two of its steps, so it must not take a lock that the main thread
    may hold: waiting for an event holds that event's lock now and then, and setting it there would never return. The
    handler only puts the signal into a queue, which is safe at any point; a thread of its own sets the events.
    """

    stop: threading.Event = field(default_factory=threading.Event)
    hurry: threading.Event = field(default_factory=threading.Event)
    _received: SimpleQueue[int] = field(default_factory=SimpleQueue)

    @classmethod
    def armed(cls) -> Self:
        """Return one that listens to this process's signals; only in the main thread."""
        interruption = cls()
        threading.Thread(target=interruption._pass_on, name="interruption", daemon=True).start()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, interruption.receive)
        return interruption

    def receive(self, number: int, _frame: object) -> None:
        """Note a signal; the main loop does the rest."""
        self._received.put(number)

    def _pass_on(self) -> None:
        while True:
            self._received.get()
            (self.hurry if self.stop.is_set() else self.stop).set()
