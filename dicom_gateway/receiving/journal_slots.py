"""Files created ahead, so that no image waits for its own name to become durable.

The reserve of the disk is looked at when they are made, not for each image: so small images may eat into it by as much
as the spare slots hold, a megabyte each.
"""

from __future__ import annotations

import threading
from collections import deque

from storage.errors import StorageFull
from storage.journals import Journal, Slot
from storage.objects import ObjectStore

_SPARE = 128
_FEW = 64


class SlotPool:
    """Hands out slots of a journal; a thread makes new ones while there are few left."""

    def __init__(self, journal: Journal, objects: ObjectStore) -> None:
        self._journal = journal
        self._objects = objects
        self._ready: deque[Slot] = deque()
        self._few = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="slots", daemon=True)

    def start(self) -> None:
        """Begin to make slots."""
        self._few.set()
        self._thread.start()

    def stop(self) -> None:
        """Make no more, and remove those that nobody took."""
        self._stopping = True
        self._few.set()
        self._thread.join()
        while self._ready:
            self._ready.pop().discard()

    def take(self) -> Slot:
        """Return a slot that is the caller's from then on; StorageFull where the disk will not have one."""
        try:
            slot = self._ready.popleft()
        except IndexError:
            slot = self._made()
        if len(self._ready) < _FEW:
            self._few.set()
        return slot

    def _made(self) -> Slot:
        self._objects.require_space()
        try:
            (slot,) = self._journal.slots(1)
        except OSError as error:
            raise disk_failure(error) from error
        return slot

    def _run(self) -> None:
        while True:
            self._few.wait()
            self._few.clear()
            if self._stopping:
                return
            try:
                self._objects.require_space()
                self._ready.extend(self._journal.slots(max(_SPARE - len(self._ready), 0)))
            except (OSError, StorageFull):
                # Whoever needs one tries by itself, and answers its sender; the next ``take`` has this tried again.
                continue


def disk_failure(error: OSError) -> StorageFull:
    """Return what a sender is told where the disk fails: try again later."""
    return StorageFull(f"could not write an incoming image ({error.strerror}); free disk space or check the disk")
