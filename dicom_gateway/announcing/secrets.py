"""The secret of a channel, from its file of credentials: a password, a token, or the key that signs."""

from __future__ import annotations

import stat
from pathlib import Path

from storage.errors import FileUnusable

_MOST_BYTES = 16 << 10
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def read_secret(path: Path) -> str:
    """Return the one line that a file holds; FileUnusable where it cannot be read, or holds something else."""
    try:
        with path.open("rb") as file:
            lines = file.read(_MOST_BYTES).decode("utf-8").split("\n")
    except OSError as error:
        raise FileUnusable(f"the credentials file {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise _no_secret(path) from None
    line = lines[0].strip()
    if not line or any(other.strip() for other in lines[1:]):
        raise _no_secret(path)
    return line


def is_exposed(path: Path) -> bool:
    """Say whether others than its owner can read a file."""
    return bool(stat.S_IMODE(path.stat().st_mode) & _OTHERS)


def _no_secret(path: Path) -> FileUnusable:
    return FileUnusable(f"the credentials file {path} holds no secret: write one line")
