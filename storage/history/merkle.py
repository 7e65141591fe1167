"""Merkle trees as RFC 6962, section 2.1, defines them: hashes, proofs, and what a proof must lead to.

The names are the RFC's: MTH is ``tree_hash``, PATH and PROOF are ``inclusion_proof`` and ``consistency_proof``. Here
a tree is known by the hashes of its leaves. Proofs are lists of hashes of *spans*, runs of leaves ``[start, end)``, so
that whoever can hash a span by other means (``tiles``) shares the definitions of both proofs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

from storage.history.errors import ProofRefused

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256().digest()
"""MTH of no leaf at all."""

LEAF_PREFIX, NODE_PREFIX = b"\x00", b"\x01"
"""What keeps a leaf from being taken for a node, and the other way round."""

Span = tuple[int, int]
"""First leaf, and the leaf after the last."""


def leaf_hash(data: bytes) -> bytes:
    """Return the hash of one leaf."""
    return hashlib.sha256(LEAF_PREFIX + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of the node above two others."""
    return hashlib.sha256(NODE_PREFIX + left + right).digest()


def split(size: int) -> int:
    """Return the RFC's k: the largest power of two smaller than ``size``, which is two at least."""
    return 1 << ((size - 1).bit_length() - 1)


def tree_hash(leaf_hashes: Sequence[bytes]) -> bytes:
    """Return MTH: the root of the tree over these leaves."""
    size = len(leaf_hashes)
    if size == 0:
        return EMPTY_ROOT
    if size == 1:
        return leaf_hashes[0]
    k = split(size)
    return node_hash(tree_hash(leaf_hashes[:k]), tree_hash(leaf_hashes[k:]))


def inclusion_proof(index: int, leaf_hashes: Sequence[bytes]) -> tuple[bytes, ...]:
    """Return PATH: what leads from the leaf numbered ``index``, from 0, to the root; its sibling comes first."""
    return tuple(tree_hash(leaf_hashes[start:end]) for start, end in inclusion_spans(index, len(leaf_hashes)))


def consistency_proof(first: int, leaf_hashes: Sequence[bytes]) -> tuple[bytes, ...]:
    """Return PROOF: what shows that the tree of the first ``first`` leaves grew into the tree of all."""
    return tuple(tree_hash(leaf_hashes[start:end]) for start, end in consistency_spans(first, len(leaf_hashes)))


def inclusion_spans(index: int, size: int) -> tuple[Span, ...]:
    """Return the spans whose hashes are PATH(index, D[size]). Raises ValueError where the tree has no such leaf."""
    if not 0 <= index < size:
        raise ValueError(f"a tree of {size} leaves has no leaf {index}")
    return tuple(_path(index, 0, size))


def consistency_spans(first: int, size: int) -> tuple[Span, ...]:
    """Return the spans whose hashes are PROOF(first, D[size]); none for an empty first tree.

    Raises ValueError where the first tree is the larger one.
    """
    if not 0 <= first <= size:
        raise ValueError(f"a tree of {first} leaves did not grow into one of {size}")
    return tuple(_subproof(first, 0, size, known=True)) if first else ()


def verify_inclusion(leaf: bytes, index: int, size: int, root: bytes, *, proof: Sequence[bytes]) -> None:
    """Check that a leaf of this hash stands at ``index`` in the tree of this size and root.

    Raises ProofRefused, which says what does not hold.
    """
    if not 0 <= index < size:
        raise ProofRefused(f"inclusion proof: a tree of {size} leaves has no leaf {index}")
    if len(proof) != len(inclusion_spans(index, size)) or not _all_hashes(proof):
        raise ProofRefused(f"inclusion proof: {len(proof)} hashes do not lead from leaf {index} to a root over {size}")
    if _root(leaf, index, size, proof) != root:
        raise ProofRefused(f"inclusion proof: leaf {index} does not lead to the root of the tree of {size} leaves")


def verify_consistency(first: int, second: int, *, roots: tuple[bytes, bytes], proof: Sequence[bytes]) -> None:
    """Check that the tree of ``first`` leaves is the beginning of the one of ``second``; ``roots`` are of both.

    Raises ProofRefused, which says what does not hold.
    """
    if not 0 <= first <= second:
        raise ProofRefused(f"consistency proof: a tree of {first} leaves did not grow into one of {second}")
    if len(proof) != len(consistency_spans(first, second)) or not _all_hashes(proof):
        raise ProofRefused(f"consistency proof: {len(proof)} hashes do not lead from size {first} to size {second}")
    old, new = _roots(first, second, roots[0], proof, known=True) if first else (EMPTY_ROOT, roots[1])
    if old != roots[0]:
        raise ProofRefused(f"consistency proof: it does not lead to the root of the tree of {first} leaves")
    if new != roots[1]:
        raise ProofRefused(f"consistency proof: it does not lead to the root of the tree of {second} leaves")


def _all_hashes(proof: Sequence[bytes]) -> bool:
    return all(len(item) == HASH_BYTES for item in proof)


def _path(index: int, start: int, size: int) -> Iterator[Span]:
    """Yield PATH(index, D[start:start + size]); the index counts from ``start``."""
    if size == 1:
        return
    k = split(size)
    if index < k:
        yield from _path(index, start, k)
        yield start + k, start + size
    else:
        yield from _path(index - k, start + k, size - k)
        yield start, start + k


def _subproof(first: int, start: int, size: int, *, known: bool) -> Iterator[Span]:
    """Yield SUBPROOF(first, D[start:start + size], known); the verifier knows the root of the first tree."""
    if first == size:
        if not known:
            yield start, start + size
        return
    k = split(size)
    if first <= k:
        yield from _subproof(first, start, k, known=known)
        yield start + k, start + size
    else:
        yield from _subproof(first - k, start + k, size - k, known=False)
        yield start, start + k


def _root(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes:
    """Return the root that a path of the right length leads to."""
    if size == 1:
        return leaf
    k = split(size)
    if index < k:
        return node_hash(_root(leaf, index, k, path[:-1]), path[-1])
    return node_hash(path[-1], _root(leaf, index - k, size - k, path[:-1]))


def _roots(first: int, size: int, root: bytes, proof: Sequence[bytes], *, known: bool) -> tuple[bytes, bytes]:
    """Return the roots of both trees that a proof of the right length leads to."""
    if first == size:
        return (root, root) if known else (proof[0], proof[0])
    k = split(size)
    if first <= k:
        old, new = _roots(first, k, root, proof[:-1], known=known)
        return old, node_hash(new, proof[-1])
    old, new = _roots(first - k, size - k, root, proof[:-1], known=False)
    return node_hash(proof[-1], old), node_hash(proof[-1], new)
