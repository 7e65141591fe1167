from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.history import archive_proof
from storage.history.errors import ArchiveWrong
from storage.history.merkle import HASH_BYTES, leaf_hash, tree_hash

LEAVES = [leaf_hash(bytes([number])) for number in range(200)]


@st.composite
def trees(draw: st.DrawFn) -> tuple[int, list[int]]:
    """Draw a size and some of the leaves."""
    size = draw(st.integers(1, len(LEAVES)))
    return size, sorted(draw(st.sets(st.integers(0, size - 1), min_size=1)))


def _outside(numbers: list[int], size: int) -> list[bytes]:
    return [tree_hash(LEAVES[start:end]) for start, end in archive_proof.outside_spans(numbers, size)]


@given(trees())
def test_some_leaves_and_the_hashes_of_all_else_lead_to_the_root(tree: tuple[int, list[int]]) -> None:
    size, numbers = tree
    hashes = b"".join(LEAVES[number] for number in numbers)
    assert archive_proof.root(numbers, hashes, size, _outside(numbers, size)) == tree_hash(LEAVES[:size])


@given(trees(), st.data())
def test_another_leaf_leads_to_another_root(tree: tuple[int, list[int]], data: st.DataObject) -> None:
    size, numbers = tree
    place = data.draw(st.integers(0, len(numbers) * HASH_BYTES - 1))
    hashes = bytearray(b"".join(LEAVES[number] for number in numbers))
    hashes[place] ^= 1
    assert archive_proof.root(numbers, bytes(hashes), size, _outside(numbers, size)) != tree_hash(LEAVES[:size])


@given(st.sets(st.integers(0, 10_000)))
def test_runs_are_read_as_they_are_written(numbers: set[int]) -> None:
    found = archive_proof.runs(sorted(numbers))
    assert archive_proof.parse_runs(archive_proof.runs_text(found)) == found
    assert {number for first, last in found for number in range(first, last + 1)} == numbers


def test_a_month_within_a_large_log_needs_few_hashes() -> None:
    spans = list(archive_proof.outside_spans(range(400_000, 1_300_000), 10_000_000))
    assert len(spans) < 48
    assert sum(end - start for start, end in spans) == 10_000_000 - 900_000


def test_a_proof_with_too_few_or_too_many_hashes_is_refused() -> None:
    numbers, hashes, outside = [5], LEAVES[5], _outside([5], 100)
    for wrong in (outside[:-1], [*outside, LEAVES[0]]):
        with pytest.raises(ArchiveWrong, match="hashes of the tree"):
            archive_proof.root(numbers, hashes, 100, wrong)
