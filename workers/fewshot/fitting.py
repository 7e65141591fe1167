"""Fit an adapter on a frozen snapshot of a task's items, from cached vectors alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
from sqlalchemy.orm import Session

from storage.database import Database
from storage.errors import RecordMissing
from storage.fewshot import adapters, embeddings, items, tasks
from storage.fewshot.adapters import Adapter, Recipe, Snapshot
from storage.fewshot.embeddings import MaskUsed
from storage.fewshot.errors import ItemRefused
from storage.fewshot.items import Item, Split
from storage.fewshot.tasks import Task
from workers.config import WorkerSettings
from workers.devices import choose_device
from workers.fewshot.classifier import FittedAdapter, Labelled, fit_adapter
from workers.fewshot.contracts import MASKLESS, MaskSource, PromptMode, Vectors, item_key
from workers.fewshot.heads import HeadName, make_head
from workers.fewshot.lesion_views import InstalledEncoders
from workers.fewshot.registry import DEFAULT_BACKBONE

FREEZE_ALL = "freeze_all"
"""The backbone of every adapter stays as it was loaded."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What somebody asks for; None leaves the choice to the task's newest adapter, and then to oncue."""

    backbone: str | None
    mode: PromptMode | None
    head: HeadName | None
    seed: int


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


def newest_recipe(session: Session, task_name: str) -> Recipe | None:
    """Return the recipe of a task's newest adapter; RecordMissing where there is no such task."""
    found = adapters.listed(session, tasks.find(session, task_name))
    return found[0].recipe if found else None


def recipe_for(settings: WorkerSettings, wanted: Wanted, *, before: Recipe | None) -> Recipe:
    """Describe an adapter; BackboneMissing or WeightsMismatch where a backbone that is asked for is not there."""
    if before is not None and wanted.backbone is None and wanted.mode is None:
        return replace(before, head=wanted.head.value if wanted.head else before.head, seed=wanted.seed)
    mode = wanted.mode or PromptMode.CROP
    encoders = InstalledEncoders(settings.models_folder(), choose_device(settings.device))
    card = encoders.backbone(wanted.backbone or DEFAULT_BACKBONE).card
    return Recipe(
        embedding_key=item_key(card, mode),
        backbone=card.name,
        backbone_sha256=card.sha256,
        licence=card.licence,
        commercial_use=card.commercial_use,
        prompt_mode=mode.value,
        mask_source=(MaskSource.NONE if mode in MASKLESS else MaskSource.GIVEN).value,
        head=(wanted.head or HeadName.LOGISTIC).value,
        freeze=FREEZE_ALL,
        seed=wanted.seed,
    )


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
