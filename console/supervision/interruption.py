"""How `oncue` processes are ended: the first signal in order, a second one at once."""

from __future__ import annotations

import signal
import threading
from dataclasses import dataclass, field
from typing import Self


@dataclass(frozen=True, slots=True)
class Interruption:
    """``stop`` is set by the first SIGINT or SIGTERM, ``hurry`` by the second."""

    stop: threading.Event = field(default_factory=threading.Event)
    hurry: threading.Event = field(default_factory=threading.Event)

    @classmethod
    def armed(cls) -> Self:
        """Return one that listens to this process's signals; only in the main thread."""
        interruption = cls()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, interruption.receive)
        return interruption

    def receive(self, _number: int, _frame: object) -> None:
        """Note a signal; the main loop does the rest."""
        (self.hurry if self.stop.is_set() else self.stop).set()
