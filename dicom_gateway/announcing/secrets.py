"""The secret of a channel, from its file of credentials: a password, a token, or the key that signs."""

from __future__ import annotations

import stat
from pathlib import Path

from storage.errors import FileUnusable

_MOST_BYTES = 16 << 10
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def read_secret(path: Path) -> str:
    """Return the text that a file holds, most often one line; FileUnusable where it cannot be read, or is none."""
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_BYTES).decode("utf-8").strip()
    except OSError as error:
        raise FileUnusable(f"the credentials file {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise _no_secret(path) from None
    if not text or not all(line.strip().isprintable() for line in text.splitlines()):
        raise _no_secret(path)
    return text


def is_exposed(path: Path) -> bool:
    """Say whether others than its owner can read a file."""
    return bool(stat.S_IMODE(path.stat().st_mode) & _OTHERS)


def _no_secret(path: Path) -> FileUnusable:
    return FileUnusable(f"the credentials file {path} holds no secret: write one line")
