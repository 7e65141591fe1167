"""One `oncue up` per state folder."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from storage.errors import ConfigurationError

_NAME = "up.lock"


@contextmanager
def exclusive(state: Path) -> Iterator[None]:
    """Hold the state folder until the block ends; ConfigurationError where another `oncue up` holds it.

    The kernel drops the lock with the process, however it dies, so there is never a stale one.
    """
    with (state / _NAME).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise ConfigurationError(f"`oncue up` already runs on {state} (process {holder}); stop it first") from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def is_held(state: Path) -> bool:
    """Say whether an `oncue up` runs on this state folder."""
    path = state / _NAME
    if not path.is_file():
        return False
    with path.open("r") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        return False
