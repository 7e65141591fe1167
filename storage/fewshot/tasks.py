"""Classification tasks: one question with its classes, what it is for, and what it is not for."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from storage import audit, new_rows
from storage.errors import RecordExists, RecordMissing
from storage.fewshot.errors import ItemRefused
from storage.fewshot.tables import ClassificationTaskRow

LEAST_CLASSES = 2


@dataclass(frozen=True, slots=True)
class TaskDraft:
    """What a task is made of.

    ``alpha`` is the share of cases whose true class the conformal set may miss; ``sensitivity_floor`` is the least
    share of positives that every subgroup must have found. Empty ``modality`` or ``body_part`` stands for any.
    """

    name: str
    classes: tuple[str, ...]
    positive_class: str
    modality: str
    body_part: str
    intended_use: str
    not_for: str
    alpha: float = 0.1
    sensitivity_floor: float = 0.5


@dataclass(frozen=True, slots=True)
class Task:
    """A task on record."""

    id: int
    draft: TaskDraft
    patient_salt: str
    created_at: datetime

    @property
    def name(self) -> str:
        """What the task is called."""
        return self.draft.name

    def patient_key(self, patient: str) -> str:
        """Return the salted hash under which a patient is known in this task, and in no other."""
        return hmac.new(bytes.fromhex(self.patient_salt), patient.encode(), hashlib.sha256).hexdigest()


def create(session: Session, draft: TaskDraft, *, actor: str, now: datetime, salt: str | None = None) -> Task:
    """Put a task on record; RecordExists where the name is taken, ItemRefused where it contradicts itself.

    ``salt`` (64 hex digits) is drawn where it is not given.
    """
    _check(draft)
    if not new_rows.add_if_new(session, ClassificationTaskRow, _values(draft, salt, now)):
        raise RecordExists(f"there is already a task {draft.name!r}: choose another name")
    task = find(session, draft.name)
    audit.record(
        session,
        "task:created",
        f"task/{draft.name}",
        actor=actor,
        now=now,
        details={
            "classes": ", ".join(draft.classes),
            "positive": draft.positive_class,
            "modality": task.draft.modality,
        },
    )
    return task


def take(session: Session, task: Task) -> None:
    """Wait until nobody else changes a task, and keep them from it until the end of the transaction.

    Whoever adds items, labels, adapters or decisions takes the task first, and reads what it decides by afterwards.
    """
    query = select(ClassificationTaskRow.id).where(ClassificationTaskRow.id == task.id)
    session.execute(query.with_for_update(key_share=True))


def find(session: Session, name: str) -> Task:
    """Return the task of a name; RecordMissing where there is none."""
    row = session.scalars(select(ClassificationTaskRow).where(ClassificationTaskRow.name == name)).one_or_none()
    if row is None:
        raise RecordMissing(f"there is no task {name!r}; see `oncue classification task list`")
    return _task(row)


def listed(session: Session) -> tuple[Task, ...]:
    """Return every task by name."""
    return tuple(
        _task(row) for row in session.scalars(select(ClassificationTaskRow).order_by(ClassificationTaskRow.name))
    )


def _values(draft: TaskDraft, salt: str | None, now: datetime) -> dict[str, object]:
    return {
        "name": draft.name,
        "classes": json.dumps(list(draft.classes)),
        "positive_class": draft.positive_class,
        "modality": draft.modality.upper(),
        "body_part": draft.body_part.upper(),
        "intended_use": draft.intended_use,
        "not_for": draft.not_for,
        "alpha": draft.alpha,
        "sensitivity_floor": draft.sensitivity_floor,
        "patient_salt": salt or secrets.token_hex(32),
        "created_at": now,
    }


def _check(draft: TaskDraft) -> None:
    if len(set(draft.classes)) < LEAST_CLASSES or len(set(draft.classes)) != len(draft.classes):
        raise ItemRefused("a task needs at least two classes, each named once")
    if draft.positive_class not in draft.classes:
        raise ItemRefused(f"the positive class {draft.positive_class!r} is not one of {', '.join(draft.classes)}")
    if not (draft.name.strip() and draft.intended_use.strip() and draft.not_for.strip()):
        raise ItemRefused("a task needs a name, an intended use, and a statement of what it is not for")
    if not (0 < draft.alpha < 1 and 0 <= draft.sensitivity_floor <= 1):
        raise ItemRefused("alpha lies between 0 and 1, and so does the sensitivity floor")


def _task(row: ClassificationTaskRow) -> Task:
    draft = TaskDraft(
        name=row.name,
        classes=tuple(json.loads(row.classes)),
        positive_class=row.positive_class,
        modality=row.modality,
        body_part=row.body_part,
        intended_use=row.intended_use,
        not_for=row.not_for,
        alpha=row.alpha,
        sensitivity_floor=row.sensitivity_floor,
    )
    return Task(row.id, draft, row.patient_salt, row.created_at)
