"""What other programs read of the few-shot workflow: JSON forms, equal on the command line and in the HTTP API.

Scripts rely on these names. A field may be added, never renamed or taken away.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Self

from storage.explanations import Prediction
from storage.fewshot.adapters import Adapter
from storage.fewshot.evaluations import Evaluation
from storage.fewshot.items import Item
from storage.fewshot.promotions import Decision, Promotion
from storage.fewshot.splits import Split
from storage.fewshot.tasks import Task
from storage.fewshot.verdicts import Check, Verdict


@dataclass(frozen=True, slots=True)
class TaskForm:
    """One task in ``oncue classification task list --json``; ``predicting`` is the number of its promoted adapter."""

    name: str
    classes: list[str]
    positive_class: str
    modality: str
    body_part: str
    intended_use: str
    not_for: str
    alpha: float
    sensitivity_floor: float
    predicting: int | None

    @classmethod
    def of(cls, task: Task, predicting: int | None) -> Self:
        """Take over a task, without its salt."""
        draft = task.draft
        return cls(
            draft.name,
            list(draft.classes),
            draft.positive_class,
            draft.modality,
            draft.body_part,
            draft.intended_use,
            draft.not_for,
            draft.alpha,
            draft.sensitivity_floor,
            predicting,
        )


@dataclass(frozen=True, slots=True)
class ItemForm:
    """One item in ``oncue classification items list --json``."""

    id: int
    label: str
    split: Split
    patient_key: str
    source: str
    sex: str
    age_band: str
    site: str
    image_sha256: str
    mask_source: str
    area: float | None

    @classmethod
    def of(cls, item: Item) -> Self:
        """Take over an item; its patient is a salted hash."""
        return cls(
            item.id,
            item.label,
            item.split,
            item.patient_key,
            item.source,
            item.sex,
            item.age_band,
            item.site,
            item.image_sha256,
            item.mask_source,
            item.area,
        )


@dataclass(frozen=True, slots=True)
class AdapterForm:
    """One fitted adapter with all that decided its bytes."""

    id: int
    version: int
    head: str
    backbone: str
    backbone_sha256: str
    embedding_key: str
    prompt: str
    freeze: str
    seed: int
    support_items: int
    calibration_items: int
    support_sha256: str
    calibration_sha256: str
    artefact_sha256: str
    commercial_use: bool
    fitted_by: str
    fitted_at: str
    verdict: Verdict | None

    @classmethod
    def of(cls, adapter: Adapter, verdict: Verdict | None) -> Self:
        """Take over an adapter with the verdict of its newest evaluation."""
        recipe, snapshot = adapter.recipe, adapter.snapshot
        return cls(
            id=adapter.id,
            version=adapter.version,
            head=recipe.head,
            backbone=recipe.backbone,
            backbone_sha256=recipe.backbone_sha256,
            embedding_key=recipe.embedding_key,
            prompt=recipe.prompt_mode,
            freeze=recipe.freeze,
            seed=recipe.seed,
            support_items=len(snapshot.support),
            calibration_items=len(snapshot.calibration),
            support_sha256=snapshot.support_sha256,
            calibration_sha256=snapshot.calibration_sha256,
            artefact_sha256=adapter.artefact_sha256,
            commercial_use=recipe.commercial_use,
            fitted_by=adapter.fitted_by,
            fitted_at=adapter.fitted_at.isoformat(),
            verdict=verdict,
        )


@dataclass(frozen=True, slots=True)
class CheckForm:
    """One check of the gate."""

    name: str
    verdict: Verdict
    blocks: bool
    value: float | None
    bound: float | None
    reason: str

    @classmethod
    def of(cls, check: Check) -> Self:
        """Take over a check."""
        return cls(check.name, check.verdict, check.blocks, check.value, check.bound, check.reason)


@dataclass(frozen=True, slots=True)
class EvaluationForm:
    """One evaluation: its verdict, every check, the metrics and the model card (Markdown)."""

    id: int
    adapter: int
    verdict: Verdict
    attends_to_lesion: bool
    checks: list[CheckForm]
    metrics: dict[str, Any]
    card: str
    evaluation_sha256: str
    code_version: str
    evaluated_by: str
    evaluated_at: str

    @classmethod
    def of(cls, evaluation: Evaluation) -> Self:
        """Take over an evaluation."""
        judgement = evaluation.judgement
        return cls(
            id=evaluation.id,
            adapter=evaluation.adapter_id,
            verdict=judgement.verdict,
            attends_to_lesion=judgement.attends_to_lesion,
            checks=[CheckForm.of(check) for check in judgement.checks],
            metrics=json.loads(judgement.metrics),
            card=judgement.card,
            evaluation_sha256=judgement.evaluation_sha256,
            code_version=judgement.code_version,
            evaluated_by=evaluation.evaluated_by,
            evaluated_at=evaluation.evaluated_at.isoformat(),
        )


@dataclass(frozen=True, slots=True)
class PromotionForm:
    """One decision on what a task predicts with; ``overrides`` maps the name of a check to the reason given."""

    id: int
    decision: Decision
    adapter: int
    evaluation: int
    overrides: dict[str, str]
    reason: str
    actor: str
    decided_at: str

    @classmethod
    def of(cls, promotion: Promotion) -> Self:
        """Take over a decision."""
        return cls(
            promotion.id,
            promotion.decision,
            promotion.adapter_id,
            promotion.evaluation_id,
            {override.check: override.reason for override in promotion.overrides},
            promotion.reason,
            promotion.actor,
            promotion.decided_at.isoformat(),
        )


@dataclass(frozen=True, slots=True)
class PredictionForm:
    """How one finding got its label: by which adapter, among which classes, next to which support cases."""

    adapter: int
    label_set: list[str]
    distance: float | None
    nearest: list[dict[str, Any]]
    attends_to_lesion: bool
    in_mask_share: float | None
    saliency: str | None

    @classmethod
    def of(cls, prediction: Prediction) -> Self:
        """Take over a prediction; ``saliency`` is the digest of the map in the object store."""
        return cls(
            prediction.adapter,
            list(prediction.label_set),
            prediction.distance,
            [{"item": one.item, "label": one.label, "similarity": one.similarity} for one in prediction.nearest],
            prediction.attends_to_lesion,
            prediction.in_mask_share,
            prediction.saliency,
        )


@dataclass(frozen=True, slots=True)
class TaskDetailForm:
    """One task with its adapters (newest first), its decisions (oldest first), and how many items each split has."""

    task: TaskForm
    items: dict[str, dict[str, int]]
    adapters: list[AdapterForm]
    promotions: list[PromotionForm]
    evaluation: EvaluationForm | None
    """The newest evaluation of the adapter that predicts, or of the newest one."""
