"""Adapters: fitted heads with their calibration. Immutable; the same snapshot and seed always give the same bytes."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from storage import audit
from storage.errors import RecordMissing
from storage.fewshot import tasks
from storage.fewshot.errors import NotDeterministic
from storage.fewshot.tables import ClassificationAdapterRow
from storage.fewshot.tasks import Task


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides an adapter's bytes, next to the items: encoder, visual prompt, head, seed."""

    embedding_key: str
    backbone: str
    backbone_sha256: str
    licence: str
    commercial_use: bool
    prompt_mode: str
    mask_source: str
    head: str
    freeze: str
    seed: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The frozen lists of items that an adapter was fitted and calibrated on, by number, with their digests."""

    support: tuple[int, ...]
    calibration: tuple[int, ...]
    support_sha256: str
    calibration_sha256: str


@dataclass(frozen=True, slots=True)
class Adapter:
    """One adapter on record, without its bytes."""

    id: int
    task_id: int
    version: int
    recipe: Recipe
    snapshot: Snapshot
    identity_sha256: str
    artefact_sha256: str
    fitted_by: str
    fitted_at: datetime


def save(
    session: Session,
    task: Task,
    *,
    recipe: Recipe,
    snapshot: Snapshot,
    artefact: bytes,
    actor: str,
    now: datetime,
) -> Adapter:
    """Put an adapter on record, or return the one that is there with the same recipe and snapshot.

    NotDeterministic where that one has other bytes: then something outside the recipe decides.
    """
    tasks.take(session, task)
    identity, digest = _identity(task, recipe, snapshot), hashlib.sha256(artefact).hexdigest()
    known = session.scalars(
        select(ClassificationAdapterRow).where(ClassificationAdapterRow.identity_sha256 == identity)
    ).one_or_none()
    if known is not None:
        if known.artefact_sha256 != digest:
            raise NotDeterministic(f"adapter {known.id} was fitted on the same items and seed, and has other bytes")
        return _adapter(known)
    row = _row(task, recipe, snapshot, artefact, identity=identity)
    row.version = _newest_version(session, task.id) + 1
    row.artefact_sha256, row.fitted_by, row.fitted_at = digest, actor, now
    session.add(row)
    session.flush()
    audit.record(
        session,
        "adapter:fitted",
        f"task/{task.name}",
        actor=actor,
        now=now,
        details={
            "adapter": row.id,
            "version": row.version,
            "head": recipe.head,
            "seed": recipe.seed,
            "embedding_key": recipe.embedding_key,
            "support": snapshot.support_sha256,
            "calibration": snapshot.calibration_sha256,
            "artefact": digest,
        },
    )
    return _adapter(row)


def find(session: Session, adapter_id: int) -> Adapter:
    """Return one adapter; RecordMissing where there is none."""
    return _adapter(_found(session, adapter_id))


def artefact(session: Session, adapter_id: int) -> bytes:
    """Return an adapter's bytes; RecordMissing where it is not there or no longer hashes to its digest."""
    row = _found(session, adapter_id)
    if hashlib.sha256(row.artefact).hexdigest() != row.artefact_sha256:
        raise RecordMissing(f"the bytes of adapter {adapter_id} are not those that were recorded: fit it again")
    return row.artefact


def listed(session: Session, task: Task) -> tuple[Adapter, ...]:
    """Return a task's adapters, newest first."""
    query = (
        select(ClassificationAdapterRow)
        .where(ClassificationAdapterRow.task_id == task.id)
        .order_by(ClassificationAdapterRow.version.desc())
    )
    return tuple(_adapter(row) for row in session.scalars(query))


def _found(session: Session, adapter_id: int) -> ClassificationAdapterRow:
    row = session.get(ClassificationAdapterRow, adapter_id)
    if row is None:
        raise RecordMissing(f"there is no adapter {adapter_id}; see `oncue classification show TASK`")
    return row


def _newest_version(session: Session, task_id: int) -> int:
    query = select(func.max(ClassificationAdapterRow.version)).where(ClassificationAdapterRow.task_id == task_id)
    return session.scalar(query) or 0


def _identity(task: Task, recipe: Recipe, snapshot: Snapshot) -> str:
    parts = [
        task.name,
        task.draft.alpha,
        recipe.embedding_key,
        recipe.backbone_sha256,
        recipe.head,
        recipe.freeze,
        recipe.seed,
        snapshot.support_sha256,
        snapshot.calibration_sha256,
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _row(task: Task, recipe: Recipe, snapshot: Snapshot, content: bytes, *, identity: str) -> ClassificationAdapterRow:
    return ClassificationAdapterRow(
        task_id=task.id,
        identity_sha256=identity,
        embedding_key=recipe.embedding_key,
        backbone=recipe.backbone,
        backbone_sha256=recipe.backbone_sha256,
        licence=recipe.licence,
        commercial_use=recipe.commercial_use,
        prompt_mode=recipe.prompt_mode,
        mask_source=recipe.mask_source,
        head=recipe.head,
        freeze=recipe.freeze,
        seed=recipe.seed,
        support_sha256=snapshot.support_sha256,
        calibration_sha256=snapshot.calibration_sha256,
        snapshot=json.dumps({"support": snapshot.support, "calibration": snapshot.calibration}),
        artefact=content,
    )


def _adapter(row: ClassificationAdapterRow) -> Adapter:
    recipe = Recipe(
        embedding_key=row.embedding_key,
        backbone=row.backbone,
        backbone_sha256=row.backbone_sha256,
        licence=row.licence,
        commercial_use=row.commercial_use,
        prompt_mode=row.prompt_mode,
        mask_source=row.mask_source,
        head=row.head,
        freeze=row.freeze,
        seed=row.seed,
    )
    lists = json.loads(row.snapshot)
    snapshot = Snapshot(
        tuple(lists["support"]), tuple(lists["calibration"]), row.support_sha256, row.calibration_sha256
    )
    return Adapter(
        id=row.id,
        task_id=row.task_id,
        version=row.version,
        recipe=recipe,
        snapshot=snapshot,
        identity_sha256=row.identity_sha256,
        artefact_sha256=row.artefact_sha256,
        fitted_by=row.fitted_by,
        fitted_at=row.fitted_at,
    )
