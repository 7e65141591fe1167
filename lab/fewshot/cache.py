"""Embeddings on disk: a vector is computed once for a picture, a mask, a backbone and a prompt."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy import float32
from numpy.typing import NDArray

from workers.fewshot.contracts import Mask, Picture

_TABLE = "CREATE TABLE IF NOT EXISTS vectors (key TEXT PRIMARY KEY, vector BLOB NOT NULL) WITHOUT ROWID"
_SELECT = "SELECT vector FROM vectors WHERE key = ?"
_INSERT = "INSERT OR REPLACE INTO vectors VALUES (?, ?)"


@dataclass(frozen=True, slots=True)
class EmbeddingCache:
    """One SQLite file in a folder; deleting it costs time and nothing else."""

    folder: Path

    def get(self, keys: Sequence[str]) -> list[NDArray[float32] | None]:
        """Return the vectors that are there; a damaged one counts as absent."""
        with self._open() as connection:
            rows = [connection.execute(_SELECT, (key,)).fetchone() for key in keys]
        return [_decoded(row[0]) if row else None for row in rows]

    def put(self, keys: Sequence[str], vectors: Sequence[NDArray[float32]]) -> None:
        """Keep vectors under their keys."""
        with self._open() as connection, connection:
            connection.executemany(
                _INSERT, [(key, _encoded(vector)) for key, vector in zip(keys, vectors, strict=True)]
            )

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(self.folder / "vectors.sqlite", timeout=30)) as connection:
            connection.execute(_TABLE)
            yield connection


def vector_key(space: str, picture: Picture, masks: Sequence[Mask]) -> str:
    """Name the vector of a picture and its masks in a space (see ``embedding_key``)."""
    content = hashlib.sha256(f"{space}\n{picture.shape}\n".encode())
    content.update(np.ascontiguousarray(picture).data)
    for mask in masks:
        content.update(np.packbits(mask).data)
    return content.hexdigest()


def _encoded(vector: NDArray[float32]) -> bytes:
    content = np.ascontiguousarray(vector, dtype=float32).tobytes()
    return hashlib.sha256(content).digest()[:8] + content


def _decoded(content: bytes) -> NDArray[float32] | None:
    if hashlib.sha256(content[8:]).digest()[:8] != content[:8]:
        return None
    return np.frombuffer(content[8:], dtype=float32)
