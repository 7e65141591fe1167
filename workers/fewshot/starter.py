"""The shipped starter: a task whose adapter lets a new installation label findings, promoted with open overrides."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from numpy import float32, uint8
from numpy.typing import NDArray
from safetensors.numpy import load_file
from sqlalchemy.orm import Session

from storage.database import Database, utc_now
from storage.errors import RecordExists
from storage.fewshot import adapters, embeddings, evaluations, items, promotions, tasks
from storage.fewshot.adapters import Recipe
from storage.fewshot.embeddings import MaskUsed
from storage.fewshot.items import NewItem, Split
from storage.fewshot.promotions import Override, Promotion
from storage.fewshot.tasks import Task, TaskDraft
from storage.fewshot.verdicts import Verdict
from workers.config import WorkerSettings
from workers.errors import WeightsMismatch
from workers.fewshot import dinov2
from workers.fewshot.contracts import MaskSource, PromptMode, embedding_key
from workers.fewshot.evaluating import evaluate
from workers.fewshot.fitting import FREEZE_ALL, fit
from workers.fewshot.heads import HeadName
from workers.weights import verify

FOLDER = "classification-support-brain-flair"
SUPPORT_FILE = "support.safetensors"
PATIENTS_FILE = "patients.json"
_SOURCE = "starter:"
EARLIER_KEY = "efficientnet-lite0:579344248a93e230:crop1.5-128-mean3-v1"
"""The space of the starter up to version 2 of the set."""
PROMPT = PromptMode.MASKPOOL
"""What the regions of the set were embedded under."""
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
    embedding_key=embedding_key(dinov2.CARD, PROMPT),
    backbone=dinov2.CARD.name,
    backbone_sha256=dinov2.CARD.sha256,
    licence="Apache-2.0 (weights), CC BY-NC-SA 4.0 (support)",
    commercial_use=False,
    prompt_mode=PROMPT.value,
    mask_source=MaskSource.SEGMENTATION.value,
    head=HeadName.LOGISTIC.value,
    freeze=FREEZE_ALL,
    seed=0,
)
REASON = (
    "shipped starter: {check} was not settled on the public patients it ships with ({found}); replace it with your own"
)


@dataclass(frozen=True, slots=True)
class Traits:
    """What is recorded of a patient; empty text stands for «not recorded»."""

    sex: str = ""
    age_band: str = ""
    site: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One region: whose it is, what it shows, and its vector float32 ``[d]``."""

    patient: str
    label: str
    embedding: NDArray[float32]
    traits: Traits = Traits()


def read_starter(folder: Path) -> list[Sample]:
    """Read a starter set; WeightsMismatch where a file is not the one that the manifest lists."""
    verify(folder)
    tensors = load_file(folder / SUPPORT_FILE)
    traits = json.loads((folder / PATIENTS_FILE).read_text(encoding="utf-8"))
    names, patients = _texts(tensors["names"]), _texts(tensors["patients"])
    if not len(tensors["embeddings"]) == len(tensors["labels"]) == len(patients):
        raise WeightsMismatch(f"{SUPPORT_FILE} of {folder.name} contradicts itself: restore the folder")
    rows = zip(patients, tensors["labels"], tensors["embeddings"], strict=True)
    return [
        Sample(patient, names[int(label)], embedding, Traits(**traits[patient])) for patient, label, embedding in rows
    ]


def splits(samples: Sequence[Sample]) -> Mapping[str, Split]:
    """Give every patient a use: in the order of the digests of their names half support, a quarter each the others."""
    names = sorted({sample.patient for sample in samples}, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    bounds = (len(names) // 2, 3 * len(names) // 4)
    return {
        name: Split.SUPPORT if place < bounds[0] else Split.CALIBRATION if place < bounds[1] else Split.EVALUATION
        for place, name in enumerate(names)
    }


def _texts(array: NDArray[uint8]) -> list[str]:
    return array.tobytes().decode().split("\n")


def install_starter(settings: WorkerSettings, database: Database, *, actor: str) -> int:
    """Set up the shipped task where it is not there yet, and return how many items were new.

    Every step is done once, also when two workers start together. A task that was decided on is left alone, unless it
    predicts with the encoder of an earlier release, which is gone: its regions then get the vectors of this one.
    """
    samples = read_starter(settings.models_folder() / FOLDER)
    added = _add(database, samples, actor=actor)
    with database.read() as session:
        task = tasks.find(session, TASK.name)
        if not _needs_adapter(session, task):
            return added
    _embed_anew(database, task, samples)
    adapter = fit(database, TASK.name, RECIPE, actor=actor, now=utc_now())
    with database.read() as session:
        evaluation = evaluations.newest(session, adapter.id)
    evaluation = evaluation or evaluate(database, adapter.id, actor=actor, now=utc_now())
    with database.write() as session:
        if _needs_adapter(session, task):
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
            embeddings.put(session, vectors, embedding_key=RECIPE.embedding_key, mask=MaskUsed.OWN, now=utc_now())
    except RecordExists:
        return 0
    return len(numbers)


def _needs_adapter(session: Session, task: Task) -> bool:
    """Say whether nothing was decided yet, or what predicts was fitted with the encoder that is gone."""
    present = promotions.promoted_adapter(session, task)
    if present is None:
        return not promotions.history(session, task)
    return present.recipe.embedding_key == EARLIER_KEY


def _embed_anew(database: Database, task: Task, samples: Sequence[Sample]) -> None:
    """Give regions that an earlier release put on record their vectors of this one; they stand in the same order."""
    with database.write() as session:
        held = [item for item in items.in_use(session, task) if item.source.startswith(_SOURCE)]
        if [(item.source, item.label) for item in held] == [(_SOURCE + one.patient, one.label) for one in samples]:
            vectors = {item.id: one.embedding for item, one in zip(held, samples, strict=True)}
            embeddings.put(session, vectors, embedding_key=RECIPE.embedding_key, mask=MaskUsed.OWN, now=utc_now())


def _item(task: Task, sample: Sample, split: Split) -> NewItem:
    return NewItem(
        patient_key=task.patient_key(sample.patient),
        split=split,
        label=sample.label,
        source=_SOURCE + sample.patient,
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
