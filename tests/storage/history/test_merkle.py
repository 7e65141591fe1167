from __future__ import annotations

from itertools import pairwise

import pymerkle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.history.errors import ProofRefused
from storage.history.merkle import (
    EMPTY_ROOT,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    node_hash,
    tree_hash,
    verify_consistency,
    verify_inclusion,
)

KNOWN_LEAVES = ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
KNOWN_ROOTS = (
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)
"""The eight leaves that implementations of Certificate Transparency are tested with, and the roots over the first n."""

LEAVES = tuple(leaf_hash(bytes.fromhex(text)) for text in KNOWN_LEAVES)

sizes = st.integers(min_value=1, max_value=300)


def _hashes(size: int) -> list[bytes]:
    return [leaf_hash(str(number).encode()) for number in range(size)]


def _their_tree(size: int) -> pymerkle.InmemoryTree:
    tree = pymerkle.InmemoryTree()
    tree.append_entries([str(number).encode() for number in range(size)])
    return tree


def _root_by_rfc_9162(leaf: bytes, index: int, size: int, proof: tuple[bytes, ...]) -> bytes:
    """Climb a proof as section 2.1.3.2 does, which knows nothing of the definition that the product follows."""
    at, last, root = index, size - 1, leaf
    for item in proof:
        assert last
        if at & 1 or at == last:
            root = node_hash(item, root)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            root = node_hash(root, item)
        at, last = at >> 1, last >> 1
    assert not last
    return root


def _roots_by_rfc_9162(first: int, second: int, root: bytes, proof: tuple[bytes, ...]) -> tuple[bytes, bytes]:
    """Climb a consistency proof of two different sizes as section 2.1.4.2 does."""
    path = list(proof) if first & (first - 1) else [root, *proof]
    at, last = first - 1, second - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    old = new = path[0]
    for item in path[1:]:
        assert last
        if at & 1 or at == last:
            old, new = node_hash(item, old), node_hash(item, new)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            new = node_hash(new, item)
        at, last = at >> 1, last >> 1
    assert not last
    return old, new


def test_roots_are_those_that_certificate_transparency_publishes() -> None:
    assert [tree_hash(LEAVES[:size]).hex() for size in range(9)] == list(KNOWN_ROOTS)
    assert EMPTY_ROOT.hex() == KNOWN_ROOTS[0]


def test_proofs_are_those_that_certificate_transparency_publishes() -> None:
    assert [item.hex() for item in inclusion_proof(0, LEAVES)] == [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ]
    assert [item.hex() for item in consistency_proof(6, LEAVES)] == [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]


@given(sizes, st.data())
@settings(deadline=None)
def test_another_implementation_finds_the_same_root_and_the_same_path(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    hashes, theirs = _hashes(size), _their_tree(size)
    proof = inclusion_proof(index, hashes)
    assert tree_hash(hashes) == theirs.get_root()
    assert list(proof) == theirs.prove_inclusion(index + 1).path[1:]
    assert _root_by_rfc_9162(hashes[index], index, size, proof) == tree_hash(hashes)
    verify_inclusion(hashes[index], index, size, tree_hash(hashes), proof=proof)


@given(sizes, st.data())
@settings(deadline=None)
def test_another_implementation_agrees_that_the_log_only_grew(size: int, data: st.DataObject) -> None:
    first = data.draw(st.integers(0, size))
    hashes, theirs = _hashes(size), _their_tree(size)
    roots, proof = (tree_hash(hashes[:first]), tree_hash(hashes)), consistency_proof(first, hashes)
    verify_consistency(first, size, roots=roots, proof=proof)
    if first:
        pymerkle.verify_consistency(*roots, theirs.prove_consistency(first, size))
    if 0 < first < size:
        assert _roots_by_rfc_9162(first, size, roots[0], proof) == roots


@given(sizes, st.data())
@settings(deadline=None)
def test_a_changed_proof_or_another_place_is_refused(size: int, data: st.DataObject) -> None:
    index, other = data.draw(st.integers(0, size - 1)), data.draw(st.integers(0, size + 2))
    hashes = _hashes(size)
    root, proof = tree_hash(hashes), inclusion_proof(index, hashes)
    if other != index:
        with pytest.raises(ProofRefused):
            verify_inclusion(hashes[index], other, size, root, proof=proof)
    for changed in (*_changed(proof), (*proof, root)):
        with pytest.raises(ProofRefused):
            verify_inclusion(hashes[index], index, size, root, proof=changed)


@given(sizes, st.data())
@settings(deadline=None)
def test_a_rebuilt_history_has_no_consistency_proof(size: int, data: st.DataObject) -> None:
    first, forged = data.draw(st.integers(1, size)), data.draw(st.integers(0, size - 1))
    hashes = _hashes(size)
    rebuilt = [*hashes[:forged], leaf_hash(b"forged"), *hashes[forged + 1 :]]
    for proof in (consistency_proof(first, hashes), consistency_proof(first, rebuilt)):
        if forged < first:
            with pytest.raises(ProofRefused):
                verify_consistency(first, size, roots=(tree_hash(hashes[:first]), tree_hash(rebuilt)), proof=proof)
        for changed in _changed(proof):
            with pytest.raises(ProofRefused):
                verify_consistency(first, size, roots=(tree_hash(hashes[:first]), tree_hash(hashes)), proof=changed)


def test_what_is_refused_is_named() -> None:
    root, proof = tree_hash(LEAVES), inclusion_proof(3, LEAVES)
    with pytest.raises(ProofRefused, match="a tree of 8 leaves has no leaf 8"):
        verify_inclusion(LEAVES[3], 8, 8, root, proof=proof)
    with pytest.raises(ProofRefused, match="leaf 3 does not lead to the root of the tree of 8 leaves"):
        verify_inclusion(LEAVES[4], 3, 8, root, proof=proof)
    with pytest.raises(ProofRefused, match="of 9 leaves did not grow into one of 8"):
        verify_consistency(9, 8, roots=(root, root), proof=())
    with pytest.raises(ProofRefused, match="does not lead to the root of the tree of 6 leaves"):
        verify_consistency(6, 8, roots=(LEAVES[0], root), proof=consistency_proof(6, LEAVES))
    with pytest.raises(ProofRefused, match="does not lead to the root of the tree of 8 leaves"):
        verify_consistency(6, 8, roots=(tree_hash(LEAVES[:6]), LEAVES[0]), proof=consistency_proof(6, LEAVES))
    with pytest.raises(ProofRefused, match="root of the tree of 0 leaves"):
        verify_consistency(0, 8, roots=(root, root), proof=())
    with pytest.raises(ValueError, match="has no leaf 8"):
        inclusion_proof(8, LEAVES)


def _changed(proof: tuple[bytes, ...]) -> list[tuple[bytes, ...]]:
    """Return the proof with a hash flipped, left out, cut, and with two swapped."""
    changed = [
        tuple(variant)
        for place, item in enumerate(proof)
        for variant in (
            (*proof[:place], bytes([item[0] ^ 1]) + item[1:], *proof[place + 1 :]),
            (*proof[:place], *proof[place + 1 :]),
            (*proof[:place], item[:-1], *proof[place + 1 :]),
        )
    ]
    swaps = pairwise(range(len(proof)))
    return changed + [(*proof[:one], proof[two], proof[one], *proof[two + 1 :]) for one, two in swaps]
