"""Threads that stay: starting one costs the starter a turn at the interpreter for each, and a round begins many."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

Work = Callable[[], None]


class BatchThreads:
    """Run pieces of work beside the caller, each in a thread of its own, and keep the threads for the next.

    They are daemons: a peer that hangs must not keep this process from ending. A piece of work that raises ends its
    thread, as it would end any.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._work: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._free = 0
        """How many threads wait, or are about to, for work that nobody has put in yet."""
        self._threads = 0

    def run(self, work: Work) -> None:
        """Have a thread that is free begin the work; one is started where none is."""
        with self._lock:
            starts_one = self._free == 0
            if starts_one:
                self._threads += 1
            else:
                self._free -= 1
        self._work.put(work)
        if starts_one:
            threading.Thread(target=self._serve, name=self._name, daemon=True).start()

    def close(self) -> None:
        """Let the threads end as each becomes free; nothing may be run afterwards."""
        with self._lock:
            threads, self._threads = self._threads, 0
        for _ in range(threads):
            self._work.put(None)

    def _serve(self) -> None:
        while (work := self._work.get()) is not None:
            work()
            with self._lock:
                self._free += 1
