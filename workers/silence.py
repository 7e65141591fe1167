"""Keep the warnings of libraries that quote what they read, which may be patient data, out of every log."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


class _Silence:
    """How many blocks want no warnings: the filters belong to the process, so the last block to end restores them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._depth = 0
        self._filters = warnings.catch_warnings()

    @contextmanager
    def kept(self) -> Iterator[None]:
        with self._lock:
            if not self._depth:
                self._filters = warnings.catch_warnings()
                self._filters.__enter__()
                warnings.simplefilter("ignore")
            self._depth += 1
        try:
            yield
        finally:
            with self._lock:
                self._depth -= 1
                if not self._depth:
                    self._filters.__exit__(None, None, None)


_SILENCE = _Silence()


@contextmanager
def no_warnings() -> Iterator[None]:
    """Show no warning while the block runs, whatever other threads begin and end meanwhile."""
    with _SILENCE.kept():
        yield
