"""The tree of the log in tiles of height 8, as c2sp.org/tlog-tiles lays them out.

Level 0 holds the hashes of the leaves, 256 to a tile; each hash of a higher level is the root of one full tile of the
level below. Only the last tile of a level is partial. A tile may hold more than a size asks for, because the log has
grown since: what lies beyond the size is never read.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from storage.history.errors import AuditTileMissing
from storage.history.merkle import (
    EMPTY_ROOT,
    HASH_BYTES,
    LEAF_PREFIX,
    NODE_PREFIX,
    Span,
    consistency_spans,
    inclusion_spans,
    node_hash,
    split,
)

HEIGHT = 8
WIDTH = 1 << HEIGHT
_TILE_BYTES = WIDTH * HASH_BYTES
_PAIR_BYTES = 2 * HASH_BYTES

ReadTile = Callable[[int, int], bytes]
"""Gives the hashes of the tile at (level, number), one after the other; nothing where there is none."""


@dataclass(frozen=True, slots=True)
class Tile:
    """Up to 256 hashes of one level, one after the other, 32 bytes each; tile ``number`` counts from 0."""

    level: int
    number: int
    hashes: bytes

    @property
    def is_full(self) -> bool:
        """Whether it never changes again."""
        return len(self.hashes) == _TILE_BYTES

    def root(self) -> bytes:
        """Return the hash that stands for a full tile in the level above."""
        return _complete_root(self.hashes)


def hashed_leaves(entries: Iterable[bytes]) -> bytes:
    """Return the hashes of many leaves, one after the other."""
    sha256, prefix = hashlib.sha256, LEAF_PREFIX
    return b"".join([sha256(prefix + data).digest() for data in entries])


def grown(size: int, leaf_hashes: bytes, read: ReadTile) -> tuple[Tile, ...]:
    """Return the tiles that are new or longer once leaves follow the first ``size``; lower levels come first.

    ``leaf_hashes`` are one after the other. Raises AuditTileMissing where the log of ``size`` lacks a last tile.
    """
    changed: list[Tile] = []
    level, added = 0, leaf_hashes
    while added:
        tiles = _appended(level, size >> (HEIGHT * level), added, read)
        added = b"".join([tile.root() for tile in tiles if tile.is_full])
        changed += tiles
        level += 1
    return tuple(changed)


def root(size: int, read: ReadTile) -> bytes:
    """Return the root of the tree over the first ``size`` leaves. Raises AuditTileMissing."""
    return _span_hash((0, size), functools.cache(read)) if size else EMPTY_ROOT


def subtree_hash(height: int, number: int, read: ReadTile) -> bytes:
    """Return the hash of the complete subtree over leaves ``[number << height, (number + 1) << height)``.

    Raises AuditTileMissing.
    """
    level, rest = divmod(height, HEIGHT)
    first = number << rest
    tile, offset = divmod(first, WIDTH)
    hashes = _read(read, level, tile, offset + (1 << rest))
    return _complete_root(hashes[offset * HASH_BYTES :])


def inclusion_proof(index: int, size: int, read: ReadTile) -> tuple[bytes, ...]:
    """Return the proof that leaf ``index`` stands in the tree over the first ``size``; reads O(log n) tiles.

    Raises AuditTileMissing, ValueError where the tree has no such leaf.
    """
    return span_hashes(inclusion_spans(index, size), read)


def consistency_proof(first: int, second: int, read: ReadTile) -> tuple[bytes, ...]:
    """Return the proof that the tree over ``first`` leaves grew into the one over ``second``; reads O(log n) tiles.

    Raises AuditTileMissing, ValueError where the first tree is the larger one.
    """
    return span_hashes(consistency_spans(first, second), read)


def span_hashes(spans: Iterable[Span], read: ReadTile) -> tuple[bytes, ...]:
    """Return the hashes of spans of a tree, such as proofs consist of. Raises AuditTileMissing."""
    once = functools.cache(read)
    return tuple(_span_hash(span, once) for span in spans)


def _appended(level: int, count: int, added: bytes, read: ReadTile) -> list[Tile]:
    """Return the tiles that hashes ``added`` behind the first ``count`` of a level make or make longer."""
    number, kept = divmod(count, WIDTH)
    hashes = (_read(read, level, number, kept) if kept else b"") + added
    return [
        Tile(level, number + start // _TILE_BYTES, hashes[start : start + _TILE_BYTES])
        for start in range(0, len(hashes), _TILE_BYTES)
    ]


def _read(read: ReadTile, level: int, number: int, width: int) -> bytes:
    """Return the first ``width`` hashes of a tile."""
    hashes = read(level, number)[: width * HASH_BYTES]
    if len(hashes) < width * HASH_BYTES:
        raise AuditTileMissing(
            f"tile {number} of level {level} holds {len(hashes) // HASH_BYTES} hashes where the log needs {width}: "
            "the table of tiles is not that of this log; `oncue audit verify` says from where on"
        )
    return hashes


def _complete_root(hashes: bytes) -> bytes:
    """Return the root over a power of two of hashes."""
    sha256, prefix = hashlib.sha256, NODE_PREFIX
    while len(hashes) > HASH_BYTES:
        pairs = range(0, len(hashes), _PAIR_BYTES)
        hashes = b"".join([sha256(prefix + hashes[pair : pair + _PAIR_BYTES]).digest() for pair in pairs])
    return hashes


def _span_hash(span: Span, read: ReadTile) -> bytes:
    """Return MTH of a span that starts where a subtree of its size may start, as those of proofs do."""
    start, end = span
    size = end - start
    if size & (size - 1) == 0:
        height = size.bit_length() - 1
        return subtree_hash(height, start >> height, read)
    k = split(size)
    return node_hash(_span_hash((start, start + k), read), _span_hash((start + k, end), read))
