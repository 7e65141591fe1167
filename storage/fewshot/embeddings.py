"""Vectors of items, kept so that fitting never looks at a picture twice. Vectors are float32 ``[d]``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from storage.fewshot.errors import ItemRefused
from storage.fewshot.tables import ClassificationEmbeddingRow

if TYPE_CHECKING:
    from numpy import float32
    from numpy.typing import NDArray


class MaskUsed(StrEnum):
    """Under which mask a vector was made."""

    OWN = "own"
    SHUFFLED = "shuffled"
    """Under the mask of another item: the control that shows whether the region decides."""


def put(
    session: Session, vectors: Mapping[int, NDArray[float32]], *, embedding_key: str, mask: MaskUsed, now: datetime
) -> int:
    """Keep vectors by item number and return how many were new; ItemRefused names an item whose vector is not finite.

    The cache of vectors is no state of the workflow: what an adapter was fitted on is digested in its snapshot.
    """
    known = set(of(session, tuple(vectors), embedding_key=embedding_key, mask=mask))
    for item_id, vector in vectors.items():
        if not np.isfinite(vector).all():
            raise ItemRefused(f"the embedding of item {item_id} is not finite: check its picture and the weights")
        if item_id not in known:
            session.add(
                ClassificationEmbeddingRow(
                    item_id=item_id,
                    embedding_key=embedding_key,
                    mask=mask.value,
                    vector=vector.astype(np.float32).tobytes(),
                    embedded_at=now,
                )
            )
    return len(vectors) - len(known)


def of(
    session: Session, item_ids: Sequence[int], *, embedding_key: str, mask: MaskUsed = MaskUsed.OWN
) -> dict[int, NDArray[float32]]:
    """Return the vectors that are there, by item number."""
    wanted = set(item_ids)
    query = select(ClassificationEmbeddingRow.item_id, ClassificationEmbeddingRow.vector).where(
        ClassificationEmbeddingRow.embedding_key == embedding_key, ClassificationEmbeddingRow.mask == mask.value
    )
    return {
        item_id: np.frombuffer(vector, dtype=np.float32)
        for item_id, vector in session.execute(query)
        if item_id in wanted
    }
