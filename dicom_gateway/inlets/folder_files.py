"""Files below a folder that others write to: found, opened and moved without ever following a link.

Everything goes through descriptors of folders that were opened with O_NOFOLLOW, so whoever writes into the folder
cannot have a file read, moved or deleted that lies elsewhere.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

DONE, REJECTED = "done", "rejected"
_UNFINISHED = (".part", ".partial", ".filepart", ".tmp", ".temp", ".crdownload", "~")
_DEEPEST = 16
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_MOST_OF_A_NAME = 1_000
_LONGEST_NAME = 255
"""Bytes of a name on Linux."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What a file looked like: another inode, size or time is another file, or one that is still being written."""

    device: int
    inode: int
    size_bytes: int
    changed_at: int

    @classmethod
    def of(cls, found: os.stat_result) -> Sight:
        """Return what a file looks like now."""
        return cls(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


@dataclass(frozen=True, slots=True)
class FolderFile:
    """A regular file, by the names of the folders that lead to it and its own."""

    parts: tuple[str, ...]
    sight: Sight

    def __str__(self) -> str:
        return "/".join(self.parts)


class FolderTree:
    """One folder, open; its ``done`` and ``rejected`` are not part of what is found in it."""

    def __init__(self, path: Path) -> None:
        """Open it; OSError where it is none, or cannot be read. The folder itself may be named by a link."""
        self._root = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self.unreadable: set[str] = set()

    def close(self) -> None:
        """Let go of it."""
        os.close(self._root)

    def files(self) -> Iterator[FolderFile]:
        """Yield the files that may be taken in, whatever order they lie in; those that vanish meanwhile are left out.

        Links, devices, pipes, empty files, and files and folders with hidden or unfinished names are left. Why folders
        in it could not be read is in ``unreadable`` then; they keep nobody from the others.
        """
        yield from self._files_of(self._root, ())

    def open(self, file: FolderFile) -> BinaryIO | None:
        """Open a file to be read; None where it is not the same any more, or somebody has it open for writing."""
        with self._folder_of(file) as folder:
            descriptor = os.open(file.parts[-1], _FILE, dir_fd=folder)
        if Sight.of(os.fstat(descriptor)) != file.sight or is_written_to(descriptor):
            os.close(descriptor)
            return None
        return os.fdopen(descriptor, "rb", buffering=0)

    def delete(self, file: FolderFile) -> None:
        """Delete a file, unless another has taken its name."""
        with self._folder_of(file) as folder:
            if self._is_same(file, folder):
                os.unlink(file.parts[-1], dir_fd=folder)

    def move(self, file: FolderFile, where: str, *, reason: str = "") -> None:
        """Move a file into ``done`` or ``rejected``, below the same folders; a ``reason`` is written beside it.

        One that is there already keeps its name, and this one gets a number.
        """
        with self._folder_of(file) as source, self._made((where, *file.parts[:-1])) as target:
            if not self._is_same(file, source):
                return
            name = _free_name(target, file.parts[-1])
            if reason:
                _write(target, _named(name, ".reason.txt"), reason)
            os.rename(file.parts[-1], name, src_dir_fd=source, dst_dir_fd=target)

    def _files_of(self, folder: int, parts: tuple[str, ...]) -> Iterator[FolderFile]:
        for entry in os.scandir(folder):
            if entry.name.startswith(".") or entry.name.lower().endswith(_UNFINISHED):
                continue
            try:
                found = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(found.st_mode):
                    yield from self._below(folder, (*parts, entry.name))
                elif stat.S_ISREG(found.st_mode) and found.st_size:
                    yield FolderFile((*parts, entry.name), Sight.of(found))
            except FileNotFoundError:
                continue
            except OSError as error:
                self.unreadable.add(error.strerror or "unknown")

    def _below(self, folder: int, parts: tuple[str, ...]) -> Iterator[FolderFile]:
        if parts in ((DONE,), (REJECTED,)) or len(parts) > _DEEPEST:
            return
        descriptor = os.open(parts[-1], _FOLDER, dir_fd=folder)
        try:
            yield from self._files_of(descriptor, parts)
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def _folder_of(self, file: FolderFile) -> Iterator[int]:
        with self._opened(file.parts[:-1]) as folder:
            yield folder

    @contextlib.contextmanager
    def _made(self, parts: tuple[str, ...]) -> Iterator[int]:
        """Open a folder by its names from the root on, each made where it is missing."""
        for count in range(len(parts)):
            with self._opened(parts[:count]) as folder, contextlib.suppress(FileExistsError):
                os.mkdir(parts[count], 0o700, dir_fd=folder)
        with self._opened(parts) as folder:
            yield folder

    @contextlib.contextmanager
    def _opened(self, parts: tuple[str, ...]) -> Iterator[int]:
        """Open a folder by its names from the root on, none of which may be a link."""
        folder = os.dup(self._root)
        try:
            for name in parts:
                inner = os.open(name, _FOLDER, dir_fd=folder)
                os.close(folder)
                folder = inner
            yield folder
        finally:
            os.close(folder)

    def _is_same(self, file: FolderFile, folder: int) -> bool:
        try:
            return Sight.of(os.stat(file.parts[-1], dir_fd=folder, follow_symlinks=False)) == file.sight
        except FileNotFoundError:
            return False


def is_written_to(descriptor: int) -> bool:
    """Say whether somebody has a file open for writing, as far as the system tells.

    A read lease is granted only where nobody has (fcntl(2), F_SETLEASE). False where it cannot be asked for: a network
    file system, or a file of another user where this process is not privileged.
    """
    try:
        # Whoever opens it meanwhile has the kernel signal this process: with SIGURG, which is ignored unless asked for.
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _free_name(folder: int, name: str) -> str:
    for number in range(_MOST_OF_A_NAME):
        candidate = _named(name, f".{number}") if number else name
        try:
            os.stat(candidate, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return candidate
    raise FileExistsError(17, "too many files of one name", name)


def _named(name: str, ending: str) -> str:
    """Return a name with an ending, cut where both together are longer than a file system takes."""
    return os.fsdecode(os.fsencode(name)[: _LONGEST_NAME - len(ending)]) + ending


def _write(folder: int, name: str, text: str) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(name, flags, 0o600, dir_fd=folder), "w", encoding="utf-8") as file:
        file.write(f"{text}\n")
