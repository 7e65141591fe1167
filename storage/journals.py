"""The journal of a gateway: files that it has acknowledged, from the moment they are durable until their rows are.

Each gateway has a folder of its own in the object store, with files created ahead, so that taking an image in costs
one flush: that of its bytes. The folder is locked for as long as its process lives (flock, which the kernel gives back
however that ends), so any other gateway can tell a dead one's journal from a living one's, and take it over.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from storage import receipts
from storage.errors import StorageFull
from storage.objects import ObjectStore, sync_folder

_LOCK = "lock"
_UNFINISHED = "."  # begins the name of a folder that is not locked yet


@dataclass(frozen=True, slots=True)
class Slot:
    """An empty file whose name is durable, open for writing."""

    path: Path
    descriptor: int

    def discard(self) -> None:
        """Empty, close and remove it, as far as the disk lets us: an empty one that stays means nothing to anybody."""
        with contextlib.suppress(OSError):
            os.ftruncate(self.descriptor, 0)
        with contextlib.suppress(OSError):
            os.close(self.descriptor)
        with contextlib.suppress(OSError):
            self.path.unlink()


class Journal:
    """A folder of slots that this process has to itself until it is closed."""

    def __init__(self, folder: Path, lock: int) -> None:
        self.folder = folder
        self._lock = lock
        self._count = 0
        self._counting = threading.Lock()

    @classmethod
    def create(cls, objects: ObjectStore, name: str) -> Journal:
        """Make a folder for a process, its name first; StorageFull where the object store cannot be written to."""
        try:
            return cls._create(objects, f"{name}.{uuid.uuid4().hex[:8]}")
        except OSError as error:
            raise StorageFull(
                f"cannot make a folder in the object store ({error.strerror}); free disk space, or see who may write"
            ) from error

    @classmethod
    def _create(cls, objects: ObjectStore, name: str) -> Journal:
        begun = objects.incoming / f"{_UNFINISHED}{name}"
        begun.mkdir(parents=True)
        lock = _open_lock(begun)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Nobody else looks at it under its first name: it is never seen without its lock.
        folder = begun.rename(objects.incoming / name)
        sync_folder(objects.incoming)
        return cls(folder, lock)

    def slots(self, count: int) -> list[Slot]:
        """Create files, and return them when their names are durable; OSError where that cannot be done."""
        made: list[Slot] = []
        try:
            for _ in range(count):
                with self._counting:
                    self._count += 1
                    path = self.folder / f"{self._count:08}"
                made.append(Slot(path, os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)))
            sync_folder(self.folder)
        except OSError:
            for slot in made:
                slot.discard()
            raise
        return made

    def files(self) -> Iterator[Path]:
        """Return its files, in the order in which they were created."""
        return iter(sorted(path for path in self.folder.iterdir() if path.name != _LOCK))

    def close(self) -> None:
        """Give the folder up, and remove it where nothing is left in it."""
        with contextlib.suppress(OSError):
            if next(self.files(), None) is None:
                (self.folder / _LOCK).unlink()
                self.folder.rmdir()
        os.close(self._lock)


def abandoned(objects: ObjectStore) -> Iterator[Journal]:
    """Return the journals whose processes are gone, each of them ours from then on until it is closed."""
    for folder in _folders(objects):
        journal = _taken(folder)
        if journal is not None:
            yield journal


def set_aside_files(objects: ObjectStore) -> Journal | None:
    """Take the folder of the files that the database refused, as a journal; None where another process has it."""
    objects.set_aside.mkdir(parents=True, exist_ok=True)
    return _taken(objects.set_aside)


def set_aside_count(objects: ObjectStore) -> int:
    """Return how many files the database refused."""
    return len([path for path in _filled(objects.set_aside) if path.name != _LOCK])


def unregistered_studies(objects: ObjectStore) -> frozenset[bytes]:
    """Return the keys of studies with acknowledged images whose rows may be missing, in any gateway's journal."""
    found = (_open_receipt(path) for folder in _folders(objects) for path in _filled(folder))
    return frozenset(receipt.study_key for receipt in found if receipt is not None)


def _folders(objects: ObjectStore) -> list[Path]:
    try:
        return [
            Path(entry.path)
            for entry in os.scandir(objects.incoming)
            if entry.is_dir() and not entry.name.startswith(_UNFINISHED)
        ]
    except FileNotFoundError:
        return []


def _filled(folder: Path) -> list[Path]:
    filled = []
    with contextlib.suppress(FileNotFoundError):
        for entry in os.scandir(folder):
            with contextlib.suppress(FileNotFoundError):
                if entry.stat().st_size > receipts.PREAMBLE_BYTES:
                    filled.append(Path(entry.path))
    return filled


def _open_receipt(path: Path) -> receipts.Receipt | None:
    try:
        with path.open("rb", buffering=0) as file:
            start = file.read(receipts.PREAMBLE_BYTES)
    except FileNotFoundError:
        return None
    return None if receipts.is_registered(start) else receipts.read(start)


def _taken(folder: Path) -> Journal | None:
    try:
        lock = _open_lock(folder)
    except OSError:  # its process has just removed it, or the disk is read-only
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The folder may have been removed, and its name used again, between opening and locking.
        if os.path.samestat(os.fstat(lock), (folder / _LOCK).stat()):
            return Journal(folder, lock)
    except OSError:
        pass
    os.close(lock)
    return None


def _open_lock(folder: Path) -> int:
    return os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
