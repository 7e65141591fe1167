"""Tables of the few-shot workflow: columns and constraints only. All but embeddings and predictions only ever grow."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Float, ForeignKey, ForeignKeyConstraint, Index, LargeBinary, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from storage.models import Model

"""Every table of the database, these included."""

_SHA = String(64)
_NAME = String(64)
_ACTOR = String(96)
_KEY = String(200)
# SQLite keeps to no length, and a table made anew for another one would lose its triggers.
_HASH = String(128).with_variant(String(16), "sqlite")


class ClassificationTaskRow(Model):
    """One question that adapters answer; ``patient_salt`` makes patient keys of one task useless in another."""

    __tablename__ = "classification_tasks"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(_NAME, unique=True)
    classes: Mapped[str] = mapped_column(Text)
    positive_class: Mapped[str] = mapped_column(_NAME)
    modality: Mapped[str] = mapped_column(String(16))
    body_part: Mapped[str] = mapped_column(String(16))
    intended_use: Mapped[str] = mapped_column(Text)
    not_for: Mapped[str] = mapped_column(Text)
    alpha: Mapped[float] = mapped_column(Float)
    sensitivity_floor: Mapped[float] = mapped_column(Float)
    patient_salt: Mapped[str] = mapped_column(_SHA)
    created_at: Mapped[datetime]


class ClassificationPatientRow(Model):
    """The one split that a patient of a task is in; items refer to key and split together."""

    __tablename__ = "classification_patients"

    task_id: Mapped[int] = mapped_column(ForeignKey("classification_tasks.id"), primary_key=True)
    patient_key: Mapped[str] = mapped_column(_SHA, primary_key=True)
    split: Mapped[str] = mapped_column(String(16))

    __table_args__ = (UniqueConstraint("task_id", "patient_key", "split"),)


class ClassificationItemRow(Model):
    """One lesion of one picture. ``mask_sha256`` is empty where there is no mask, ``look_alike`` where no picture."""

    __tablename__ = "classification_items"

    id: Mapped[int] = mapped_column(primary_key=True)
    task_id: Mapped[int] = mapped_column(ForeignKey("classification_tasks.id"))
    patient_key: Mapped[str] = mapped_column(_SHA)
    split: Mapped[str] = mapped_column(String(16))
    source: Mapped[str] = mapped_column(String(160))
    image_sha256: Mapped[str] = mapped_column(_SHA)
    mask_sha256: Mapped[str] = mapped_column(_SHA)
    mask_source: Mapped[str] = mapped_column(String(16))
    look_alike: Mapped[str] = mapped_column(_HASH)
    area: Mapped[float | None] = mapped_column(Float)
    sex: Mapped[str] = mapped_column(String(8))
    age_band: Mapped[str] = mapped_column(String(16))
    site: Mapped[str] = mapped_column(_NAME)
    added_at: Mapped[datetime]

    __table_args__ = (
        ForeignKeyConstraint(
            ["task_id", "patient_key", "split"],
            [
                "classification_patients.task_id",
                "classification_patients.patient_key",
                "classification_patients.split",
            ],
        ),
        UniqueConstraint("task_id", "image_sha256", "mask_sha256"),
        Index(None, "task_id", "split"),
    )


class ClassificationLabelRow(Model):
    """What somebody called an item, and when; the newest row counts, None takes the item out of use."""

    __tablename__ = "classification_labels"

    id: Mapped[int] = mapped_column(primary_key=True)
    item_id: Mapped[int] = mapped_column(ForeignKey("classification_items.id"), index=True)
    label: Mapped[str | None] = mapped_column(_NAME)
    labeller: Mapped[str] = mapped_column(_ACTOR)
    reason: Mapped[str] = mapped_column(Text)
    labelled_at: Mapped[datetime]


class ClassificationEmbeddingRow(Model):
    """One vector of an item, float32; ``mask`` says under which mask it was made: its own, or a shuffled one."""

    __tablename__ = "classification_embeddings"

    id: Mapped[int] = mapped_column(primary_key=True)
    item_id: Mapped[int] = mapped_column(ForeignKey("classification_items.id"))
    embedding_key: Mapped[str] = mapped_column(_KEY)
    mask: Mapped[str] = mapped_column(String(16))
    vector: Mapped[bytes] = mapped_column(LargeBinary)
    embedded_at: Mapped[datetime]

    __table_args__ = (UniqueConstraint("item_id", "embedding_key", "mask"),)


class ClassificationAdapterRow(Model):
    """One fitted head with its calibration. ``identity_sha256`` digests all that decided its bytes."""

    __tablename__ = "classification_adapters"

    id: Mapped[int] = mapped_column(primary_key=True)
    task_id: Mapped[int] = mapped_column(ForeignKey("classification_tasks.id"))
    version: Mapped[int]
    identity_sha256: Mapped[str] = mapped_column(_SHA, unique=True)
    embedding_key: Mapped[str] = mapped_column(_KEY)
    backbone: Mapped[str] = mapped_column(_NAME)
    backbone_sha256: Mapped[str] = mapped_column(_SHA)
    licence: Mapped[str] = mapped_column(_NAME)
    commercial_use: Mapped[bool]
    prompt_mode: Mapped[str] = mapped_column(String(16))
    mask_source: Mapped[str] = mapped_column(String(64))
    head: Mapped[str] = mapped_column(_NAME)
    freeze: Mapped[str] = mapped_column(String(32))
    seed: Mapped[int]
    support_sha256: Mapped[str] = mapped_column(_SHA)
    calibration_sha256: Mapped[str] = mapped_column(_SHA)
    snapshot: Mapped[str] = mapped_column(Text)
    artefact: Mapped[bytes] = mapped_column(LargeBinary)
    artefact_sha256: Mapped[str] = mapped_column(_SHA)
    fitted_by: Mapped[str] = mapped_column(_ACTOR)
    fitted_at: Mapped[datetime]

    __table_args__ = (UniqueConstraint("task_id", "version"),)


class ClassificationEvaluationRow(Model):
    """One judgement of an adapter on the evaluation patients; its checks stand in a table of their own."""

    __tablename__ = "classification_evaluations"

    id: Mapped[int] = mapped_column(primary_key=True)
    adapter_id: Mapped[int] = mapped_column(ForeignKey("classification_adapters.id"), index=True)
    evaluation_sha256: Mapped[str] = mapped_column(_SHA)
    verdict: Mapped[str] = mapped_column(String(16))
    attends_to_lesion: Mapped[bool]
    metrics: Mapped[str] = mapped_column(Text)
    card: Mapped[str] = mapped_column(Text)
    code_version: Mapped[str] = mapped_column(String(32))
    evaluated_by: Mapped[str] = mapped_column(_ACTOR)
    evaluated_at: Mapped[datetime]


class ClassificationCheckRow(Model):
    """One check of one evaluation; ``value`` and ``bound`` are None where it measures nothing."""

    __tablename__ = "classification_checks"

    id: Mapped[int] = mapped_column(primary_key=True)
    evaluation_id: Mapped[int] = mapped_column(ForeignKey("classification_evaluations.id"))
    position: Mapped[int]
    name: Mapped[str] = mapped_column(_NAME)
    verdict: Mapped[str] = mapped_column(String(16))
    blocks: Mapped[bool]
    value: Mapped[float | None] = mapped_column(Float)
    bound: Mapped[float | None] = mapped_column(Float)
    reason: Mapped[str] = mapped_column(Text)

    __table_args__ = (UniqueConstraint("evaluation_id", "name"),)


class ClassificationPromotionRow(Model):
    """One decision on what a task predicts with; the newest that was not a refusal counts."""

    __tablename__ = "classification_promotions"

    id: Mapped[int] = mapped_column(primary_key=True)
    task_id: Mapped[int] = mapped_column(ForeignKey("classification_tasks.id"), index=True)
    adapter_id: Mapped[int] = mapped_column(ForeignKey("classification_adapters.id"))
    evaluation_id: Mapped[int] = mapped_column(ForeignKey("classification_evaluations.id"))
    decision: Mapped[str] = mapped_column(String(16))
    overrides: Mapped[str] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text)
    actor: Mapped[str] = mapped_column(_ACTOR)
    decided_at: Mapped[datetime]


class ClassificationPredictionRow(Model):
    """What the promoted adapter said of one finding, and why; a retried job replaces it with its analysis."""

    __tablename__ = "classification_predictions"

    id: Mapped[int] = mapped_column(primary_key=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("analyses.job_id"))
    number: Mapped[int]
    adapter_id: Mapped[int] = mapped_column(ForeignKey("classification_adapters.id"))
    label_set: Mapped[str] = mapped_column(Text)
    distance: Mapped[float | None] = mapped_column(Float)
    nearest: Mapped[str] = mapped_column(Text)
    attends_to_lesion: Mapped[bool]
    saliency: Mapped[str | None] = mapped_column(_SHA)
    in_mask_share: Mapped[float | None] = mapped_column(Float)
    predicted_at: Mapped[datetime]

    __table_args__ = (UniqueConstraint("job_id", "number"),)


class ClassificationOrderRow(Model):
    """A request to fit or evaluate an adapter. The row is the outbox: ``published_at`` is None until it is sent."""

    __tablename__ = "classification_orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    state: Mapped[str] = mapped_column(String(16))
    task_id: Mapped[int] = mapped_column(ForeignKey("classification_tasks.id"))
    adapter_id: Mapped[int | None] = mapped_column(ForeignKey("classification_adapters.id"))
    head: Mapped[str | None] = mapped_column(_NAME)
    seed: Mapped[int]
    attempts: Mapped[int]
    token: Mapped[int]
    published_at: Mapped[datetime | None]
    lease_owner: Mapped[str | None] = mapped_column(_NAME)
    lease_expires_at: Mapped[datetime | None]
    code: Mapped[str | None] = mapped_column(_NAME)
    reason: Mapped[str | None] = mapped_column(Text)
    ordered_by: Mapped[str] = mapped_column(_ACTOR)
    ordered_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]

    __table_args__ = (Index(None, "state", "id"),)
