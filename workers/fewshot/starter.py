"""The shipped starter: a task whose adapter lets a new installation label findings, promoted with open overrides."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from sqlalchemy.orm import Session

from storage.database import Database, utc_now
from storage.errors import RecordExists
from storage.fewshot import adapters, embeddings, evaluations, items, promotions, tasks
from storage.fewshot.adapters import Recipe
from storage.fewshot.embeddings import MaskUsed
from storage.fewshot.items import NewItem
from storage.fewshot.promotions import Override, Promotion
from storage.fewshot.splits import Split
from storage.fewshot.tasks import Task, TaskDraft
from storage.fewshot.verdicts import Verdict
from workers.config import WorkerSettings
from workers.fewshot.backbone import NAME, WEIGHTS_SHA256
from workers.fewshot.contracts import MaskSource, PromptMode
from workers.fewshot.evaluating import evaluate
from workers.fewshot.fitting import FREEZE_ALL, fit
from workers.fewshot.heads.names import HeadName
from workers.fewshot.lesion_encoders import CUT_OUT_KEY
from workers.fewshot.starter_set import FOLDER, Sample, read_starter, splits

TASK = TaskDraft(
    name="brain-flair",
    classes=("not-tumour", "tumour-like"),
    positive_class="tumour-like",
    modality="MR",
    body_part="",
    intended_use="Tells a reader whether a region marked on brain FLAIR looks like a lower-grade glioma.",
    not_for="Diagnosis, ruling anything out, children, other contrasts, other diseases, commercial use.",
)
RECIPE = Recipe(
    embedding_key=CUT_OUT_KEY,
    backbone=NAME,
    backbone_sha256=WEIGHTS_SHA256,
    licence="Apache-2.0 (weights), CC BY-NC-SA 4.0 (support)",
    commercial_use=False,
    prompt_mode=PromptMode.CROP.value,
    mask_source=MaskSource.SEGMENTATION.value,
    head=HeadName.PROTOTYPES.value,
    freeze=FREEZE_ALL,
    seed=0,
)
REASON = (
    "shipped starter: {check} was not settled on the public patients it ships with ({found}); replace it with your own"
)


def install_starter(settings: WorkerSettings, database: Database, *, actor: str) -> int:
    """Set up the shipped task where it is not there yet, and return how many items were new.

    Every step is done once, also when two workers start together; a task that was ever decided on is left alone.
    """
    samples = read_starter(settings.models_folder() / FOLDER)
    added = _add(database, samples, actor=actor)
    with database.read() as session:
        task = tasks.find(session, TASK.name)
        if promotions.history(session, task):
            return added
    adapter = fit(database, TASK.name, RECIPE, actor=actor, now=utc_now())
    with database.read() as session:
        evaluation = evaluations.newest(session, adapter.id)
    evaluation = evaluation or evaluate(database, adapter.id, actor=actor, now=utc_now())
    with database.write() as session:
        if not promotions.history(session, task):
            _promote(session, task, adapter.id, actor=actor)
    return added


def _add(database: Database, samples: Sequence[Sample], *, actor: str) -> int:
    with database.read() as session:
        if any(task.name == TASK.name for task in tasks.listed(session)):
            return 0
    try:
        with database.write() as session:
            # A fixed salt: the patients are those of a public collection, and the same file must give the same bytes.
            salt = hashlib.sha256(FOLDER.encode()).hexdigest()
            task = tasks.create(session, TASK, actor=actor, now=utc_now(), salt=salt)
            uses = splits(samples)
            new = [_item(task, one, uses[one.patient]) for one in samples]
            numbers = items.add(session, task, new, actor=actor, now=utc_now())
            vectors = {number: one.embedding for number, one in zip(numbers, samples, strict=True)}
            embeddings.put(session, vectors, embedding_key=CUT_OUT_KEY, mask=MaskUsed.OWN, now=utc_now())
    except RecordExists:
        return 0
    return len(numbers)


def _item(task: Task, sample: Sample, split: Split) -> NewItem:
    return NewItem(
        patient_key=task.patient_key(sample.patient),
        split=split,
        label=sample.label,
        source=f"starter:{sample.patient}",
        image_sha256=hashlib.sha256(sample.embedding.tobytes()).hexdigest(),
        mask_source=MaskSource.GIVEN.value,
        sex=sample.traits.sex,
        age_band=sample.traits.age_band,
        site=sample.traits.site,
    )


def _promote(session: Session, task: Task, adapter_id: int, *, actor: str) -> Promotion:
    evaluation = evaluations.newest(session, adapter_id)
    checks = evaluation.judgement.checks if evaluation else ()
    overrides = [
        Override(check.name, REASON.format(check=check.name, found=check.reason))
        for check in checks
        if check.stands_in_the_way and check.verdict is Verdict.INSUFFICIENT
    ]
    return promotions.promote(
        session,
        task,
        adapters.find(session, adapter_id),
        overrides=overrides,
        reason="the shipped starter, so that a new installation can label findings",
        actor=actor,
        now=utc_now(),
    )
