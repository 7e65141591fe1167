"""Fit an adapter on a frozen snapshot of a task's items, from cached vectors alone."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.orm import Session

from storage.database import Database
from storage.errors import ItemRefused
from storage.fewshot import adapters, items, tasks
from storage.fewshot.adapters import Adapter, Recipe, Snapshot
from storage.fewshot.items import Item
from storage.fewshot.splits import Split
from storage.fewshot.tasks import Task
from workers.fewshot.classifier import FittedAdapter, fit_adapter
from workers.fewshot.heads.names import HeadName, make_head
from workers.fewshot.rows import in_order, labelled

FREEZE_ALL = "freeze_all"


def fit(database: Database, task_name: str, recipe: Recipe, *, actor: str, now: datetime) -> Adapter:
    """Fit on the support and calibration items that are in use now, and put the adapter on record.

    The same snapshot and recipe give the same bytes; then the adapter that is there is returned. Raises RecordMissing
    for an unknown task or items without vectors, ItemRefused for an unknown head, OneClassOnly.
    """
    with database.read() as session:
        task = tasks.find(session, task_name)
        fitted, snapshot = fit_snapshot(session, task, recipe)
    with database.write() as session:
        return adapters.save(
            session, task, recipe=recipe, snapshot=snapshot, artefact=fitted.to_bytes(), actor=actor, now=now
        )


def fit_snapshot(session: Session, task: Task, recipe: Recipe) -> tuple[FittedAdapter, Snapshot]:
    """Fit on what a task holds now, without putting it on record."""
    support, calibration = (
        in_order(items.in_use(session, task, split)) for split in (Split.SUPPORT, Split.CALIBRATION)
    )
    if not support:
        raise ItemRefused(f"task {task.name} has no support items: `oncue classification items add`")
    fitted = fit_adapter(
        make_head(head_name(recipe.head)),
        labelled(session, support, embedding_key=recipe.embedding_key),
        labelled(session, calibration, embedding_key=recipe.embedding_key),
        alpha=task.draft.alpha,
        seed=recipe.seed,
    )
    return fitted, _snapshot(support, calibration)


def head_name(text: str) -> HeadName:
    """Return the head of a name; ItemRefused names those there are."""
    try:
        return HeadName(text)
    except ValueError as error:
        known = ", ".join(name.value for name in HeadName)
        raise ItemRefused(f"there is no head {text!r}; there are {known}") from error


def _snapshot(support: tuple[Item, ...], calibration: tuple[Item, ...]) -> Snapshot:
    return Snapshot(
        support=tuple(item.id for item in support),
        calibration=tuple(item.id for item in calibration),
        support_sha256=items.snapshot_sha256(support),
        calibration_sha256=items.snapshot_sha256(calibration),
    )
