"""The bytes of stored files as they go out: in large pieces, a receipt in the preamble left out, held to the digest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from storage import receipts
from storage.errors import ObjectCorrupt, ObjectMissing
from storage.objects import ObjectStore

PIECE_BYTES = 1 << 20


def size_of(objects: ObjectStore, digest: str) -> int | None:
    """Return the bytes of a file; None where it is not there."""
    try:
        return objects.path(digest).stat().st_size
    except FileNotFoundError:
        return None


def pieces(objects: ObjectStore, digest: str) -> Iterator[bytes]:
    """Yield a file in pieces; its end comes only once all of it is known to be what was stored.

    ObjectMissing where it is gone, ObjectCorrupt, before the last piece, where its bytes were changed.
    """
    sha = hashlib.sha256()
    waiting = b""
    for piece in _read(objects.path(digest), digest):
        if waiting:
            yield waiting
        elif receipts.begins_with_one(piece):
            piece = receipts.BLANK + piece[receipts.PREAMBLE_BYTES :]  # noqa: PLW2901 - goes out in its place
        sha.update(piece)
        waiting = piece
    if sha.hexdigest() != digest:
        raise ObjectCorrupt(f"object {digest[:12]} was changed on disk; restore it from a backup")
    yield waiting


def _read(path: Path, digest: str) -> Iterator[bytes]:
    try:
        with path.open("rb", buffering=0) as file:
            while piece := file.read(PIECE_BYTES):
                yield piece
    except FileNotFoundError as error:
        raise ObjectMissing(f"object {digest[:12]} is not in the store") from error
