from __future__ import annotations

import functools
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.history import merkle, tiles
from storage.history.errors import AuditTileMissing
from storage.history.tiles import Tile

BIG = 10_000_000


class TileTable:
    """Keeps tiles as the database does: the last of a level is written over. Counts what is read."""

    def __init__(self) -> None:
        self.size = 0
        self.stored: dict[tuple[int, int], bytes] = {}
        self.reads: list[tuple[int, int]] = []

    def read(self, level: int, number: int) -> bytes:
        self.reads.append((level, number))
        return self.stored.get((level, number), b"")

    def append(self, hashes: bytes) -> tuple[Tile, ...]:
        changed = tiles.grown(self.size, hashes, self.read)
        self.stored.update({(tile.level, tile.number): tile.hashes for tile in changed})
        self.size += len(hashes) // merkle.HASH_BYTES
        return changed


@functools.cache
def _leaves(size: int) -> list[bytes]:
    return [merkle.leaf_hash(str(number).encode()) for number in range(size)]


def _table(*batches: int) -> TileTable:
    table = TileTable()
    for batch in batches:
        table.append(b"".join(_leaves(70_000)[table.size : table.size + batch]))
    return table


def _widths(stored: Mapping[tuple[int, int], bytes]) -> dict[int, tuple[int, int]]:
    """Return for each level how many tiles are full, and how wide the partial one is."""
    levels: dict[int, tuple[int, int]] = {}
    for (level, _), hashes in stored.items():
        full, partial = levels.get(level, (0, 0))
        width = len(hashes) // 32
        levels[level] = (full + 1, partial) if width == tiles.WIDTH else (full, width)
    return levels


def test_a_log_of_70000_has_the_tiles_that_tlog_tiles_counts() -> None:
    assert _widths(_table(70_000).stored) == {0: (273, 112), 1: (1, 17), 2: (0, 1)}
    assert _widths(_table(256).stored) == {0: (1, 0), 1: (0, 1)}


def test_bulk_hashing_gives_the_leaves_hashes() -> None:
    entries = [str(number).encode() for number in range(1000)]
    assert tiles.hashed_leaves(entries) == b"".join(_leaves(70_000)[:1000])


def test_only_tiles_that_changed_come_back() -> None:
    table = _table(600)
    changed = table.append(b"".join(_leaves(70_000)[600:800]))
    assert [(tile.level, tile.number, len(tile.hashes) // 32) for tile in changed] == [
        (0, 2, 256),
        (0, 3, 32),
        (1, 0, 3),
    ]
    assert not table.append(b"")


@given(st.lists(st.integers(0, 700), min_size=1, max_size=6))
@settings(max_examples=40, deadline=None)
def test_the_tiles_do_not_depend_on_the_batches(batches: list[int]) -> None:
    table = _table(*batches)
    assert table.stored == _table(sum(batches)).stored
    assert tiles.root(table.size, table.read) == merkle.tree_hash(_leaves(70_000)[: table.size])


@given(st.integers(1, 3000), st.data())
@settings(max_examples=40, deadline=None)
def test_roots_and_proofs_of_every_earlier_size_are_those_of_the_whole_tree(size: int, data: st.DataObject) -> None:
    table, hashes = _table(3000), _leaves(70_000)
    index, first = data.draw(st.integers(0, size - 1)), data.draw(st.integers(0, size))
    assert tiles.root(size, table.read) == merkle.tree_hash(hashes[:size])
    assert tiles.inclusion_proof(index, size, table.read) == merkle.inclusion_proof(index, hashes[:size])
    assert tiles.consistency_proof(first, size, table.read) == merkle.consistency_proof(first, hashes[:size])


@given(st.integers(0, 16), st.data())
@settings(max_examples=40, deadline=None)
def test_the_hash_of_any_complete_subtree_is_at_hand(height: int, data: st.DataObject) -> None:
    number = data.draw(st.integers(0, (70_000 >> height) - 1))
    expected = merkle.tree_hash(_leaves(70_000)[number << height : (number + 1) << height])
    assert tiles.subtree_hash(height, number, _whole_table().read) == expected


@functools.cache
def _whole_table() -> TileTable:
    return _table(70_000)


def _big_tile(level: int, number: int) -> bytes:
    """Make up the tiles of a log of 10,000,000 leaves that are all alike, from the roots of full tiles."""
    count = (BIG >> (tiles.HEIGHT * level)) - number * tiles.WIDTH
    return _alike(level) * max(0, min(tiles.WIDTH, count))


@functools.cache
def _alike(level: int) -> bytes:
    return merkle.leaf_hash(b"alike") if level == 0 else Tile(0, 0, _alike(level - 1) * tiles.WIDTH).root()


@pytest.mark.parametrize("index", [0, 255, 256, 1_234_567, 9_999_935, 9_999_999])
def test_ten_million_leaves_are_proven_from_a_handful_of_tiles(index: int) -> None:
    reads: list[tuple[int, int]] = []

    def read(level: int, number: int) -> bytes:
        reads.append((level, number))
        return _big_tile(level, number)

    root = tiles.root(BIG, read)
    assert len(reads) <= 3
    reads.clear()
    proof = tiles.inclusion_proof(index, BIG, read)
    merkle.verify_inclusion(_alike(0), index, BIG, root, proof=proof)
    assert len(reads) <= 6
    reads.clear()
    grown = tiles.consistency_proof(index + 1, BIG, read)
    merkle.verify_consistency(index + 1, BIG, roots=(tiles.root(index + 1, _big_tile), root), proof=grown)
    assert len(reads) <= 6


def test_a_tile_that_is_missing_or_too_short_is_named() -> None:
    table = _table(600)
    table.stored[0, 2] = table.stored[0, 2][:-32]
    with pytest.raises(AuditTileMissing, match="tile 2 of level 0 holds 87 hashes where the log needs 88"):
        tiles.grown(600, _leaves(70_000)[600], table.read)
    del table.stored[1, 0]
    with pytest.raises(AuditTileMissing, match="tile 0 of level 1 holds 0 hashes"):
        tiles.root(512, table.read)
