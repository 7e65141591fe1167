"""The support set of the few-shot head: labelled embeddings, each added once and kept with what made it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np
from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from storage import audit
from storage.models import SupportItemRow

if TYPE_CHECKING:
    from numpy import float32
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class SupportItem:
    """One labelled example: its embedding float32 ``[d]``, and the source it came from (never a patient's name)."""

    label: str
    source: str
    embedding: NDArray[float32]


@dataclass(frozen=True, slots=True)
class SupportGroup:
    """How many examples of one label a task has."""

    task: str
    embedding_key: str
    label: str
    items: int


def add(
    session: Session, items: Sequence[SupportItem], *, task: str, embedding_key: str, actor: str, now: datetime
) -> int:
    """Add examples that are not there yet and return how many were new.

    ``embedding_key`` names backbone digest, prompt mode and input size: only items with the same key can be compared.
    """
    audit.lock(session)
    same = (SupportItemRow.task == task, SupportItemRow.embedding_key == embedding_key)
    known = set(session.scalars(select(SupportItemRow.content_sha256).where(*same)))
    fresh = {digest: item for item in items if (digest := _digest(item)) not in known}
    for digest, item in fresh.items():
        session.add(_row(item, digest, task=task, embedding_key=embedding_key, now=now))
    if fresh:
        audit.record(
            session,
            "support:added",
            f"task/{task}",
            actor=actor,
            now=now,
            details={"items": len(fresh), "embedding_key": embedding_key},
        )
    return len(fresh)


def items_of(session: Session, *, task: str, embedding_key: str) -> tuple[SupportItem, ...]:
    """Return the examples of a task that were embedded the same way, in the order of their digests."""
    query = (
        select(SupportItemRow)
        .where(SupportItemRow.task == task, SupportItemRow.embedding_key == embedding_key)
        .order_by(SupportItemRow.content_sha256)
    )
    return tuple(
        SupportItem(row.label, row.source, np.frombuffer(row.embedding, dtype=np.float32))
        for row in session.scalars(query)
    )


def groups(session: Session) -> tuple[SupportGroup, ...]:
    """Return how many examples there are of each task, way of embedding and label."""
    keys = (SupportItemRow.task, SupportItemRow.embedding_key, SupportItemRow.label)
    query = select(*keys, func.count()).group_by(*keys).order_by(*keys)
    return tuple(SupportGroup(*row) for row in session.execute(query).tuples())


def clear(session: Session, *, task: str, actor: str, now: datetime) -> int:
    """Remove every example of a task and return how many there were."""
    audit.lock(session)
    rows = session.scalars(select(SupportItemRow.id).where(SupportItemRow.task == task)).all()
    session.execute(delete(SupportItemRow).where(SupportItemRow.task == task))
    if rows:
        audit.record(session, "support:cleared", f"task/{task}", actor=actor, now=now, details={"items": len(rows)})
    return len(rows)


def _row(item: SupportItem, digest: str, *, task: str, embedding_key: str, now: datetime) -> SupportItemRow:
    return SupportItemRow(
        task=task,
        label=item.label,
        source=item.source,
        embedding_key=embedding_key,
        embedding=item.embedding.astype(np.float32).tobytes(),
        content_sha256=digest,
        added_at=now,
    )


def _digest(item: SupportItem) -> str:
    sha = hashlib.sha256(item.label.encode())
    sha.update(b"\0")
    sha.update(item.embedding.astype(np.float32).tobytes())
    return sha.hexdigest()
