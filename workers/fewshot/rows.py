"""From items on record to what heads are fitted and judged on, in an order that does not depend on their numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sqlalchemy.orm import Session

from storage.errors import RecordMissing
from storage.fewshot import embeddings
from storage.fewshot.embeddings import MaskUsed
from storage.fewshot.items import Item
from workers.fewshot.classifier import Labelled
from workers.fewshot.contracts import Vectors


def in_order(items: Sequence[Item]) -> tuple[Item, ...]:
    """Sort items by picture, mask and label: the same set is in the same order in every database."""
    return tuple(sorted(items, key=lambda item: (item.image_sha256, item.mask_sha256, item.label)))


def labelled(session: Session, items: Sequence[Item], *, embedding_key: str) -> Labelled:
    """Return items with their vectors; RecordMissing names the first that was never embedded so."""
    vectors = vectors_of(session, items, embedding_key=embedding_key, mask=MaskUsed.OWN)
    if vectors is None:
        raise RecordMissing(f"no item was embedded as {embedding_key}: `oncue classification items embed TASK`")
    return Labelled(
        vectors=vectors,
        labels=tuple(item.label for item in items),
        patients=tuple(item.patient_key for item in items),
        areas=np.array([np.nan if item.area is None else item.area for item in items], dtype=np.float64),
    )


def vectors_of(session: Session, items: Sequence[Item], *, embedding_key: str, mask: MaskUsed) -> Vectors | None:
    """Return the vectors ``[n, d]`` of items; None where none is there, RecordMissing where some are."""
    found = embeddings.of(session, [item.id for item in items], embedding_key=embedding_key, mask=mask)
    if not found:
        return None if items else np.zeros((0, 1), dtype=np.float32)
    missing = [item for item in items if item.id not in found]
    if missing:
        raise RecordMissing(f"item {missing[0].id} ({missing[0].source}) has no vector under its {mask.value} mask")
    return np.stack([found[item.id] for item in items])
