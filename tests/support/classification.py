"""A task with items, adapters and evaluations, written through the functions that the product writes them with."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime

from sqlalchemy.orm import Session

from storage.fewshot import adapters, evaluations, items, tasks
from storage.fewshot.adapters import Adapter, Recipe, Snapshot
from storage.fewshot.evaluations import Judgement
from storage.fewshot.items import NewItem, Split
from storage.fewshot.tasks import Task, TaskDraft
from storage.fewshot.verdicts import Check, Verdict

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
DRAFT = TaskDraft(
    name="texture",
    classes=("plain", "striped"),
    positive_class="striped",
    modality="MR",
    body_part="",
    intended_use="Tells test textures apart.",
    not_for="Anything with a patient.",
)
RECIPE = Recipe("net:abc:crop:v1", "net", "a" * 64, "Apache-2.0", True, "crop", "segmentation", "prototypes", "all", 0)
PASSING = Check("baseline", Verdict.PASS, "better than the majority", 0.9, 0.5)
THIN = Check("subgroups:sex", Verdict.INSUFFICIENT, "three men", 3.0, 10.0)
FAILING = Check("calibration", Verdict.FAIL, "the probabilities are off", 0.3, 0.1)


def new_task(session: Session, draft: TaskDraft = DRAFT) -> Task:
    return tasks.create(session, draft, actor="test", now=NOW)


def new_item(task: Task, patient: str, split: Split, *, label: str = "plain", picture: str = "") -> NewItem:
    content = hashlib.sha256(f"{patient}{picture}".encode()).hexdigest()
    return NewItem(task.patient_key(patient), split, label, f"file:{content[:8]}", content)


def new_adapter(session: Session, task: Task, *, seed: int = 0, artefact: bytes = b"head") -> Adapter:
    support = items.in_use(session, task, Split.SUPPORT)
    snapshot = Snapshot(tuple(item.id for item in support), (), items.snapshot_sha256(support), "0" * 64)
    recipe = replace(RECIPE, seed=seed)
    return adapters.save(session, task, recipe=recipe, snapshot=snapshot, artefact=artefact, actor="test", now=NOW)


def judge(session: Session, task: Task, adapter: Adapter, *checks: Check) -> None:
    digest = items.snapshot_sha256(items.in_use(session, task, Split.EVALUATION))
    judgement = Judgement(digest, checks, False, "{}", "# card", "0.1.0")
    evaluations.save(session, task.name, adapter, judgement, actor="test", now=NOW)
