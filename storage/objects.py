"""Content-addressed file store: every object lies under the SHA-256 of its bytes.

A put is durable when it returns: bytes to a temporary file in the same file system, fsync, atomic rename, fsync of
the folder. The same bytes put twice are stored once. No name from outside ever becomes part of a path.

Whoever stores what is there already renews its time: a file goes only after nobody has stored it for a while, so bytes
that are about to get a row are never deleted in between (``storage.retention``).

A received image may lie here with a receipt in its preamble for a moment (``storage.receipts``): it is read as if that
were blank, which is what its digest is of.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from storage import receipts
from storage.errors import ObjectCorrupt, ObjectMissing, StorageFull

_DIGEST = re.compile(r"[0-9a-f]{64}\Z")
_READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class ObjectStore:
    """Objects below one root folder; ``reserve_bytes`` of the file system stay free."""

    root: Path
    reserve_bytes: int = 0

    def prepare(self) -> None:
        """Make the folders that a put needs."""
        self.incoming.mkdir(parents=True, exist_ok=True)

    def prepare_names(self) -> None:
        """Make every folder that an object may get its name in, so that no link waits for one of them."""
        present = {entry.name for entry in os.scandir(self.root)}
        missing = [name for name in (f"{number:02x}" for number in range(256)) if name not in present]
        for name in missing:
            (self.root / name).mkdir(exist_ok=True)
        if missing:
            sync_folder(self.root)

    @property
    def incoming(self) -> Path:
        """Folder of files that are still being written, in the same file system as the objects."""
        return self.root / "incoming"

    @property
    def leaving(self) -> Path:
        """Folder of objects that are being deleted: out of the way of whoever stores the same bytes anew."""
        return self.root / "leaving"

    @property
    def set_aside(self) -> Path:
        """Folder of received files that the database refused to have a row of."""
        return self.root / "set-aside"

    def path(self, digest: str) -> Path:
        """Return where an object lies; ``ValueError`` for anything that is not a SHA-256 in lower-case hex."""
        return Path(self._name(digest))

    def put(self, chunks: bytes | Iterable[bytes]) -> str:
        """Store bytes durably and return their digest; StorageFull where the reserve would be touched."""
        self.require_space()
        sha = hashlib.sha256()
        handle, name = tempfile.mkstemp(dir=self.incoming)
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                for chunk in [chunks] if isinstance(chunks, bytes) else chunks:
                    sha.update(chunk)
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
            return self.adopt(temporary, sha.hexdigest())
        except OSError as error:
            raise StorageFull(f"could not write an object: {error.strerror}; free space on the object store") from error
        finally:
            temporary.unlink(missing_ok=True)

    def adopt(self, temporary: Path, digest: str) -> str:
        """Rename an already fsynced file of this file system to its digest and make the name durable."""
        target = self.path(digest)
        if _renewed(target):
            return digest
        self._make_folder(target.parent)
        temporary.replace(target)
        sync_folder(target.parent)
        return digest

    def link(self, file: Path, digest: str) -> None:
        """Give an already fsynced file of this file system its digest as a second name, durable after ``sync_names``.

        Where the digest has a file, that one stays.
        """
        # Text and no check of the folder first: every received image passes here.
        target = self._name(digest)
        while True:
            try:
                os.link(file, target)
            except FileNotFoundError:
                self._make_folder(Path(target).parent)
            except FileExistsError:
                if _renewed(Path(target)):
                    return
                # It was deleted in this moment: once more.
            else:
                return

    def size(self, digest: str) -> int:
        """Return the size of an object in bytes; 0 where there is none."""
        try:
            return self.path(digest).stat().st_size
        except FileNotFoundError:
            return 0

    def withdraw(self, digest: str) -> os.stat_result | None:
        """Take an object out of its place, from where it can be put back; None where it is in neither place."""
        self.leaving.mkdir(exist_ok=True)
        withdrawn = self.leaving / digest
        with contextlib.suppress(FileNotFoundError):
            self.path(digest).replace(withdrawn)
        try:
            return withdrawn.stat()
        except FileNotFoundError:
            return None

    def put_back(self, digest: str) -> None:
        """Undo ``withdraw``, durably; nothing happens where it was not withdrawn."""
        withdrawn = self.leaving / digest
        if withdrawn.exists():
            self.link(withdrawn, digest)
            sync_folder(self.path(digest).parent)
            withdrawn.unlink(missing_ok=True)

    def remove_withdrawn(self, digest: str) -> None:
        """Delete an object that was withdrawn."""
        (self.leaving / digest).unlink(missing_ok=True)

    def sync_names(self, digests: Iterable[str]) -> None:
        """Make the names of linked objects durable."""
        for name in {_checked(digest)[:2] for digest in digests}:
            sync_folder(self.root / name)

    def get(self, digest: str) -> bytes:
        """Return an object's bytes, checked against the digest; ObjectMissing, ObjectCorrupt."""
        try:
            content = self.path(digest).read_bytes()
        except FileNotFoundError as error:
            raise ObjectMissing(f"object {digest[:12]} is not in the store") from error
        if receipts.begins_with_one(content):
            content = receipts.BLANK + content[receipts.PREAMBLE_BYTES :]
        if hashlib.sha256(content).hexdigest() != digest:
            raise ObjectCorrupt(f"object {digest[:12]} was changed on disk; restore it from a backup")
        return content

    def verify(self, digest: str) -> None:
        """Hash an object in pieces and raise ObjectMissing or ObjectCorrupt where it is not what it was."""
        sha = hashlib.sha256()
        try:
            with self.path(digest).open("rb") as file:
                start = file.read(receipts.PREAMBLE_BYTES)
                sha.update(receipts.BLANK if receipts.begins_with_one(start) else start)
                while piece := file.read(_READ_BYTES):
                    sha.update(piece)
        except FileNotFoundError as error:
            raise ObjectMissing(f"object {digest[:12]} is not in the store") from error
        if sha.hexdigest() != digest:
            raise ObjectCorrupt(f"object {digest[:12]} was changed on disk; restore it from a backup")

    def sweep(self, *, older_than_seconds: float, now: datetime) -> int:
        """Remove incoming files that nobody has written to for so long: a killed process left them behind."""
        removed = 0
        for path in self.incoming.iterdir():
            with contextlib.suppress(FileNotFoundError):
                # Folders are the journals of gateways, and not a matter of age.
                if path.is_file() and now.timestamp() - path.stat().st_mtime > older_than_seconds:
                    path.unlink()
                    removed += 1
        return removed

    def _name(self, digest: str) -> str:
        return f"{self.root}/{_checked(digest)[:2]}/{digest}"

    def _make_folder(self, folder: Path) -> None:
        if not folder.is_dir():
            folder.mkdir(exist_ok=True)
            sync_folder(self.root)

    def require_space(self, wanted_bytes: int = 0) -> None:
        """Raise StorageFull where ``wanted_bytes`` more would eat into the reserve."""
        free = shutil.disk_usage(self.root).free
        if free - wanted_bytes < self.reserve_bytes:
            raise StorageFull(
                f"{free // 1_000_000} MB free, {self.reserve_bytes // 1_000_000} MB are kept in reserve; free space"
            )


def _renewed(file: Path) -> bool:
    """Say whether a file is there, and have it count as stored just now."""
    try:
        os.utime(file)
    except FileNotFoundError:
        return False
    return True


def sync_folder(folder: Path) -> None:
    """Make durable what names a folder holds."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _checked(digest: str) -> str:
    if not _DIGEST.match(digest):
        raise ValueError("not a SHA-256 digest")
    return digest
