"""Labelled items of a task. A patient is in one split only; labels are added, never changed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from storage import audit
from storage.errors import RecordMissing
from storage.fewshot import tasks
from storage.fewshot.errors import ItemRefused, PatientHeldElsewhere, PictureHeldElsewhere
from storage.fewshot.look_alikes import are_alike, hash_of
from storage.fewshot.tables import ClassificationItemRow, ClassificationLabelRow, ClassificationPatientRow
from storage.fewshot.tasks import Task


class Split(StrEnum):
    """What a patient's items may be used for; the three uses are kept apart by patient."""

    SUPPORT = "support"
    CALIBRATION = "calibration"
    EVALUATION = "evaluation"


@dataclass(frozen=True, slots=True)
class NewItem:
    """One lesion, or one whole image, to be added. Empty text stands for «not recorded».

    ``source`` names where the picture came from and is never a patient's name; ``look_alike`` is the picture's
    difference hash as 128 hex digits; ``area`` is the share of the picture that the mask covers, 0..1.
    """

    patient_key: str
    split: Split
    label: str
    source: str
    image_sha256: str
    mask_sha256: str = ""
    mask_source: str = "none"
    look_alike: str = ""
    area: float | None = None
    sex: str = ""
    age_band: str = ""
    site: str = ""


@dataclass(frozen=True, slots=True)
class Item:
    """One item in use: with the label that counts now, and the number of the row that gave it."""

    id: int
    label_id: int
    label: str
    patient_key: str
    split: Split
    source: str
    image_sha256: str
    mask_sha256: str
    mask_source: str
    area: float | None
    sex: str
    age_band: str
    site: str


@dataclass(frozen=True, slots=True)
class LabelEvent:
    """What somebody called an item, and when; None takes it out of use."""

    label: str | None
    labeller: str
    reason: str
    labelled_at: datetime


def add(session: Session, task: Task, items: Sequence[NewItem], *, actor: str, now: datetime) -> tuple[int, ...]:
    """Add items and return their numbers.

    Raises ItemRefused for an unknown label or an item that is there already, PatientHeldElsewhere for a patient of
    another split, PictureHeldElsewhere for a picture that another patient already holds. Nothing is added then.
    """
    tasks.take(session, task)
    splits, pictures = _splits(session, task.id), _pictures(session, task.id)
    fresh: dict[str, Split] = {}
    for place, item in enumerate(items, start=1):
        _check(task, item, place, splits, pictures)
        if item.patient_key not in splits:
            fresh[item.patient_key] = splits[item.patient_key] = item.split
        pictures.keep(item.image_sha256, item.mask_sha256, item.look_alike, item.patient_key)
    session.add_all(
        ClassificationPatientRow(task_id=task.id, patient_key=key, split=split.value) for key, split in fresh.items()
    )
    session.flush()
    rows = [_row(task.id, item, now) for item in items]
    session.add_all(rows)
    session.flush()
    session.add_all(
        _label(row.id, item.label, labeller=actor, reason="added", now=now)
        for row, item in zip(rows, items, strict=True)
    )
    _record_added(session, task, items, actor=actor, now=now)
    return tuple(row.id for row in rows)


def relabel(
    session: Session, item_id: int, label: str | None, *, task: Task, labeller: str, reason: str, now: datetime
) -> None:
    """Give an item another label, or None to take it out of use; its earlier labels stay on record."""
    tasks.take(session, task)
    row = session.get(ClassificationItemRow, item_id)
    if row is None or row.task_id != task.id:
        raise RecordMissing(f"task {task.name} has no item {item_id}")
    if label is not None and label not in task.draft.classes:
        raise ItemRefused(f"item {item_id}: {label!r} is not one of {', '.join(task.draft.classes)}")
    if not reason.strip():
        raise ItemRefused(f"item {item_id}: say why its label changes")
    session.add(_label(item_id, label, labeller=labeller, reason=reason, now=now))
    audit.record(
        session,
        "item:relabelled",
        f"task/{task.name}",
        actor=labeller,
        now=now,
        details={"item": item_id, "label": label, "reason": reason},
    )


def in_use(session: Session, task: Task, split: Split | None = None) -> tuple[Item, ...]:
    """Return the items that have a label, by number; those of one split where it is given."""
    newest = select(func.max(ClassificationLabelRow.id).label("id")).group_by(ClassificationLabelRow.item_id).subquery()
    query = (
        select(ClassificationItemRow, ClassificationLabelRow.id, ClassificationLabelRow.label)
        .join(ClassificationLabelRow, ClassificationLabelRow.item_id == ClassificationItemRow.id)
        .join(newest, newest.c.id == ClassificationLabelRow.id)
        .where(ClassificationItemRow.task_id == task.id, ClassificationLabelRow.label.is_not(None))
        .order_by(ClassificationItemRow.id)
    )
    if split is not None:
        query = query.where(ClassificationItemRow.split == split.value)
    return tuple(_item(row, label_id, str(label)) for row, label_id, label in session.execute(query))


def label_history(session: Session, item_id: int) -> tuple[LabelEvent, ...]:
    """Return every label that an item was ever given, oldest first."""
    query = (
        select(ClassificationLabelRow)
        .where(ClassificationLabelRow.item_id == item_id)
        .order_by(ClassificationLabelRow.id)
    )
    return tuple(LabelEvent(row.label, row.labeller, row.reason, row.labelled_at) for row in session.scalars(query))


def snapshot_sha256(items: Sequence[Item]) -> str:
    """Return the digest of a frozen list of items with the labels that counted; the order does not matter."""
    lines = sorted(f"{item.image_sha256}:{item.mask_sha256}:{item.patient_key}:{item.label}" for item in items)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class _Pictures:
    """What is known of pictures: under which masks and patients each digest is there, and every difference hash."""

    masks: dict[str, set[str]]
    patients: dict[str, set[str]]
    hashes: list[tuple[int, str]]

    def keep(self, image_sha256: str, mask_sha256: str, look_alike: str, patient_key: str) -> None:
        self.masks.setdefault(image_sha256, set()).add(mask_sha256)
        self.patients.setdefault(image_sha256, set()).add(patient_key)
        known = hash_of(look_alike)
        if known is not None:
            self.hashes.append((known, patient_key))

    def shown_by_another(self, item: NewItem) -> bool:
        if self.patients.get(item.image_sha256, set()) - {item.patient_key}:
            return True
        own = hash_of(item.look_alike)
        return own is not None and any(
            patient != item.patient_key and are_alike(known, own) for known, patient in self.hashes
        )


def _check(task: Task, item: NewItem, place: int, splits: Mapping[str, Split], pictures: _Pictures) -> None:
    """Refuse an item before the database has to; ``place`` counts from 1 in the list that was handed over."""
    name = f"item {place} ({item.source})"
    if item.label not in task.draft.classes:
        raise ItemRefused(f"{name}: {item.label!r} is not one of {', '.join(task.draft.classes)}")
    held = splits.get(item.patient_key, item.split)
    if held is not item.split:
        raise PatientHeldElsewhere(f"{name}: its patient is in the {held.value} split, not in {item.split.value}")
    if item.mask_sha256 in pictures.masks.get(item.image_sha256, set()):
        raise ItemRefused(f"{name}: the same picture with the same mask is already on record")
    if pictures.shown_by_another(item):
        raise PictureHeldElsewhere(f"{name}: the same picture, or one like it, is already there under another patient")


def _splits(session: Session, task_id: int) -> dict[str, Split]:
    query = select(ClassificationPatientRow).where(ClassificationPatientRow.task_id == task_id)
    return {row.patient_key: Split(row.split) for row in session.scalars(query)}


def _pictures(session: Session, task_id: int) -> _Pictures:
    found = _Pictures({}, {}, [])
    columns = (
        ClassificationItemRow.image_sha256,
        ClassificationItemRow.mask_sha256,
        ClassificationItemRow.look_alike,
        ClassificationItemRow.patient_key,
    )
    for row in session.execute(select(*columns).where(ClassificationItemRow.task_id == task_id)):
        found.keep(*row)
    return found


def _record_added(session: Session, task: Task, items: Sequence[NewItem], *, actor: str, now: datetime) -> None:
    if items:
        counts = {split.value: sum(item.split is split for item in items) for split in Split}
        audit.record(session, "items:added", f"task/{task.name}", actor=actor, now=now, details=counts)


def _row(task_id: int, item: NewItem, now: datetime) -> ClassificationItemRow:
    return ClassificationItemRow(
        task_id=task_id,
        patient_key=item.patient_key,
        split=item.split.value,
        source=item.source,
        image_sha256=item.image_sha256,
        mask_sha256=item.mask_sha256,
        mask_source=item.mask_source,
        look_alike=item.look_alike,
        area=item.area,
        sex=item.sex,
        age_band=item.age_band,
        site=item.site,
        added_at=now,
    )


def _label(item_id: int, label: str | None, *, labeller: str, reason: str, now: datetime) -> ClassificationLabelRow:
    return ClassificationLabelRow(item_id=item_id, label=label, labeller=labeller, reason=reason, labelled_at=now)


def _item(row: ClassificationItemRow, label_id: int, label: str) -> Item:
    return Item(
        id=row.id,
        label_id=label_id,
        label=label,
        patient_key=row.patient_key,
        split=Split(row.split),
        source=row.source,
        image_sha256=row.image_sha256,
        mask_sha256=row.mask_sha256,
        mask_source=row.mask_source,
        area=row.area,
        sex=row.sex,
        age_band=row.age_band,
        site=row.site,
    )
