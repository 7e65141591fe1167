"""Metadata that were read once, kept in memory alone: what retention deletes is not left behind in a file."""

from __future__ import annotations

import threading
import zlib
from collections import OrderedDict
from collections.abc import Callable

_KEPT_BYTES = 64 << 20
_LEVEL = 1


class MetadataCache:
    """The metadata of the files that were asked for last, by digest, within ``most_bytes`` of compressed text."""

    def __init__(self, most_bytes: int = _KEPT_BYTES) -> None:
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._bytes = 0

    def get(self, digest: str, read: Callable[[], bytes]) -> bytes:
        """Return what is kept of a file, or what reading it gives."""
        with self._lock:
            kept = self._kept.get(digest)
            if kept is not None:
                self._kept.move_to_end(digest)
        if kept is not None:
            return zlib.decompress(kept)
        content = read()
        self._keep(digest, zlib.compress(content, _LEVEL))
        return content

    def _keep(self, digest: str, content: bytes) -> None:
        with self._lock:
            if digest in self._kept or len(content) > self._most_bytes:
                return
            self._kept[digest] = content
            self._bytes += len(content)
            while self._bytes > self._most_bytes:
                _, dropped = self._kept.popitem(last=False)
                self._bytes -= len(dropped)
