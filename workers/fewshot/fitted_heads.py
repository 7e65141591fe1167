"""Fitted heads as plain tensors. Vectors float32 ``[n, d]``, probabilities ``[n, k]``; stored as safetensors.

Both kinds look at ``unit((x - centre) * scale)``: how far a vector is from what the support set has in common.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np
from numpy import float32, float64
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from workers.errors import AnotherBackbone, WeightsMismatch
from workers.fewshot.contracts import FittedHead, Vectors

_FORMAT = 1


@dataclass(frozen=True, slots=True, eq=False)
class Space:
    """The coordinates that a head works in."""

    centre: NDArray[float32]
    scale: NDArray[float32]

    def place(self, vectors: Vectors) -> NDArray[float64]:
        """Return the vectors in these coordinates, each of length 1; AnotherBackbone where the length differs."""
        if vectors.ndim != 2 or vectors.shape[1] != len(self.centre):  # noqa: PLR2004 - rows of vectors
            wanted = len(self.centre)
            raise AnotherBackbone(f"the head was fitted on vectors of {wanted} numbers, got {vectors.shape[-1]}")
        moved = (vectors.astype(float64) - self.centre) * self.scale
        return np.asarray(moved / np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), 1e-12))


@dataclass(frozen=True, slots=True, eq=False)
class LinearHead:
    """One weight vector and one bias for each class: prototypes, logistic regression, LP++, zero-shot text."""

    kind: ClassVar[str] = "linear"
    classes: tuple[str, ...]
    centre: NDArray[float32]
    scale: NDArray[float32]
    weight: NDArray[float32]
    bias: NDArray[float32]

    def predict_proba(self, vectors: Vectors) -> Vectors:
        """Return the softmax of the linear scores."""
        return softmax(Space(self.centre, self.scale).place(vectors) @ self.weight.T + self.bias)

    def to_bytes(self) -> bytes:
        """Return the head as safetensors."""
        return _to_bytes(self)


@dataclass(frozen=True, slots=True, eq=False)
class CacheHead:
    """Tip-Adapter: every support vector is a key; near keys vote for their class, text votes where there is any."""

    kind: ClassVar[str] = "cache"
    classes: tuple[str, ...]
    centre: NDArray[float32]
    scale: NDArray[float32]
    keys: NDArray[float32]
    votes: NDArray[float32]
    """float32 ``[n, k]``."""
    text: NDArray[float32]
    """float32 ``[k, d]``; zeros where the backbone has no text tower."""
    settings: NDArray[float32]
    """Sharpness beta, weight of the cache alpha, temperature."""

    def predict_proba(self, vectors: Vectors) -> Vectors:
        """Return the softmax of ``text + alpha * exp(-beta (1 - x . keys)) . votes`` over the temperature."""
        beta, alpha, temperature = (float(value) for value in self.settings)
        near = np.exp(-beta * (1.0 - Space(self.centre, self.scale).place(vectors) @ self.keys.T))
        lengths = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        return softmax(((vectors / lengths) @ self.text.T + alpha * near @ self.votes) / temperature)

    def to_bytes(self) -> bytes:
        """Return the head as safetensors."""
        return _to_bytes(self)


_KINDS: dict[str, type[LinearHead | CacheHead]] = {LinearHead.kind: LinearHead, CacheHead.kind: CacheHead}


def read_head(content: bytes) -> FittedHead:
    """Read what ``to_bytes`` wrote; WeightsMismatch where it is damaged or of another kind."""
    try:
        tensors = load(content)
        described = json.loads(tensors.pop("described").tobytes())
        if described["format"] != _FORMAT:
            raise ValueError("another format")  # noqa: TRY301 - one way out for everything that is wrong with it
        return _KINDS[described["kind"]](tuple(described["classes"]), **tensors)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise WeightsMismatch("the stored head is damaged or was written by another version: fit it again") from error


def softmax(scores: NDArray[np.floating[Any]]) -> Vectors:
    """Turn scores ``[n, k]`` into probabilities."""
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), dtype=float32)


def _to_bytes(head: LinearHead | CacheHead) -> bytes:
    described = {"format": _FORMAT, "kind": head.kind, "classes": list(head.classes)}
    text = json.dumps(described, sort_keys=True, separators=(",", ":")).encode()
    # As a tensor and not as metadata: the library writes metadata in no fixed order.
    tensors: dict[str, NDArray[Any]] = {"described": np.frombuffer(text, dtype=np.uint8).copy()}
    tensors |= {name: np.ascontiguousarray(getattr(head, name)) for name in _tensors(head)}
    return save(dict(sorted(tensors.items())))


def _tensors(head: LinearHead | CacheHead) -> Sequence[str]:
    return [field.name for field in fields(head) if field.name != "classes"]
