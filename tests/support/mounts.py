"""File systems that a test fills up or makes read-only, where the kernel lets it mount any."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

_PIECE_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class SmallDisk:
    """A file system of its own, a few megabytes large."""

    folder: Path

    @property
    def _filler(self) -> Path:
        return self.folder / "filler"

    def fill(self, *, but_bytes: int = 0) -> None:
        """Take all its space but so many bytes, or to the last byte."""
        with self._filler.open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while (wanted := shutil.disk_usage(self.folder).free - but_bytes) > 0:
                file.write(bytes(min(_PIECE_BYTES, wanted)))

    def free(self) -> None:
        """Give the space back."""
        self._filler.unlink()


@contextlib.contextmanager
def small_disk(folder: Path, *, megabytes: int) -> Iterator[SmallDisk]:
    """Mount a file system in memory until the block ends; the test is skipped where nobody may mount."""
    folder.mkdir()
    with _mounted(folder, "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs"):
        yield SmallDisk(folder)


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Have a folder refuse every new file and change until the block ends; files open before it stay as they are."""
    with _mounted(folder, "--bind", str(folder)):
        _mount("-o", "remount,bind,ro", str(folder))
        with pytest.raises(OSError) as refusal:  # noqa: PT011 - which one is asserted
            os.open(folder / "probe", os.O_CREAT)
        assert refusal.value.errno == errno.EROFS
        yield


@contextlib.contextmanager
def _mounted(folder: Path, *source: str) -> Iterator[None]:
    _mount(*source, str(folder))
    try:
        yield
    finally:
        # Lazily: a process of the test may hold a file of it for a moment more.
        subprocess.run([_executable("umount"), "--lazy", str(folder)], check=True)


def _mount(*words: str) -> None:
    done = subprocess.run([_executable("mount"), *words], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")


def _executable(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"there is no `{name}` here")
    return found
