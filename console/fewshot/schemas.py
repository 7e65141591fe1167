"""What other programs read of the few-shot workflow: JSON, equal on the command line and in the HTTP API.

Scripts rely on these names. A field may be added, never renamed or taken away. Each schema is read from the record of
the same name by its attributes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

from pydantic import AliasPath, BaseModel, BeforeValidator, ConfigDict, Field

from storage.fewshot.fit_requests import RequestKind, RequestState
from storage.fewshot.items import Split
from storage.fewshot.promotions import Decision, Override
from storage.fewshot.verdicts import Verdict


def _iso(moment: datetime | str) -> str:
    return moment if isinstance(moment, str) else moment.isoformat()


def _by_check(overrides: Sequence[Override] | dict[str, str]) -> dict[str, str]:
    return overrides if isinstance(overrides, dict) else {one.check: one.reason for one in overrides}


IsoTime = Annotated[str, BeforeValidator(_iso)]
"""A time as ISO 8601 text with its offset."""


class Schema(BaseModel):
    """Read from the attributes of a record."""

    model_config = ConfigDict(frozen=True, from_attributes=True)


class TaskForm(Schema):
    """One task in ``oncue classification task list --json``; ``predicting`` is the number of its promoted adapter."""

    name: str = Field(validation_alias=AliasPath("draft", "name"))
    classes: list[str] = Field(validation_alias=AliasPath("draft", "classes"))
    positive_class: str = Field(validation_alias=AliasPath("draft", "positive_class"))
    modality: str = Field(validation_alias=AliasPath("draft", "modality"))
    body_part: str = Field(validation_alias=AliasPath("draft", "body_part"))
    intended_use: str = Field(validation_alias=AliasPath("draft", "intended_use"))
    not_for: str = Field(validation_alias=AliasPath("draft", "not_for"))
    alpha: float = Field(validation_alias=AliasPath("draft", "alpha"))
    sensitivity_floor: float = Field(validation_alias=AliasPath("draft", "sensitivity_floor"))
    predicting: int | None = None


class ItemForm(Schema):
    """One item in ``oncue classification items list --json``; its patient is a salted hash."""

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


class AdapterForm(Schema):
    """One fitted adapter with all that decided its bytes, and the verdict of its newest evaluation."""

    id: int
    version: int
    head: str = Field(validation_alias=AliasPath("recipe", "head"))
    backbone: str = Field(validation_alias=AliasPath("recipe", "backbone"))
    backbone_sha256: str = Field(validation_alias=AliasPath("recipe", "backbone_sha256"))
    embedding_key: str = Field(validation_alias=AliasPath("recipe", "embedding_key"))
    prompt: str = Field(validation_alias=AliasPath("recipe", "prompt_mode"))
    freeze: str = Field(validation_alias=AliasPath("recipe", "freeze"))
    seed: int = Field(validation_alias=AliasPath("recipe", "seed"))
    support_items: Annotated[int, BeforeValidator(len)] = Field(validation_alias=AliasPath("snapshot", "support"))
    calibration_items: Annotated[int, BeforeValidator(len)] = Field(
        validation_alias=AliasPath("snapshot", "calibration")
    )
    support_sha256: str = Field(validation_alias=AliasPath("snapshot", "support_sha256"))
    calibration_sha256: str = Field(validation_alias=AliasPath("snapshot", "calibration_sha256"))
    artefact_sha256: str
    commercial_use: bool = Field(validation_alias=AliasPath("recipe", "commercial_use"))
    fitted_by: str
    fitted_at: IsoTime
    verdict: Verdict | None = None


class CheckForm(Schema):
    """One check of the gate."""

    name: str
    verdict: Verdict
    blocks: bool
    value: float | None
    bound: float | None
    reason: str


class EvaluationForm(Schema):
    """One evaluation: its verdict, every check, the metrics and the model card (Markdown)."""

    id: int
    adapter: int = Field(validation_alias="adapter_id")
    verdict: Verdict = Field(validation_alias=AliasPath("judgement", "verdict"))
    attends_to_lesion: bool = Field(validation_alias=AliasPath("judgement", "attends_to_lesion"))
    checks: list[CheckForm] = Field(validation_alias=AliasPath("judgement", "checks"))
    metrics: Annotated[dict[str, Any], BeforeValidator(json.loads)] = Field(
        validation_alias=AliasPath("judgement", "metrics")
    )
    card: str = Field(validation_alias=AliasPath("judgement", "card"))
    evaluation_sha256: str = Field(validation_alias=AliasPath("judgement", "evaluation_sha256"))
    code_version: str = Field(validation_alias=AliasPath("judgement", "code_version"))
    evaluated_by: str
    evaluated_at: IsoTime


class PromotionForm(Schema):
    """One decision on what a task predicts with; ``overrides`` maps the name of a check to the reason given."""

    id: int
    decision: Decision
    adapter: int = Field(validation_alias="adapter_id")
    evaluation: int = Field(validation_alias="evaluation_id")
    overrides: Annotated[dict[str, str], BeforeValidator(_by_check)]
    reason: str
    actor: str
    decided_at: IsoTime


class NeighbourForm(Schema):
    """One support case near a lesion."""

    item: int
    label: str
    similarity: float


class PredictionForm(Schema):
    """How one finding got its label; ``saliency`` is the digest of the map in the object store."""

    adapter: int
    label_set: list[str]
    distance: float | None
    nearest: list[NeighbourForm]
    attends_to_lesion: bool
    in_mask_share: float | None
    saliency: str | None


class FitRequestForm(Schema):
    """One request to fit or to evaluate; ``adapter`` is what it made or judged once it is done."""

    id: int
    task: str
    kind: RequestKind = Field(validation_alias=AliasPath("wish", "kind"))
    state: RequestState
    adapter: int | None = Field(validation_alias=AliasPath("wish", "adapter_id"))
    attempts: int
    code: str | None
    reason: str | None


class TaskDetailForm(Schema):
    """One task with its adapters (newest first), its decisions (oldest first), and how many items each split has."""

    task: TaskForm
    items: dict[str, dict[str, int]]
    adapters: list[AdapterForm]
    promotions: list[PromotionForm]
    evaluation: EvaluationForm | None
    """The newest evaluation of the adapter that predicts, or of the newest one."""
