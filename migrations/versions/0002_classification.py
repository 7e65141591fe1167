"""The few-shot workflow: tasks, items, adapters, evaluations, promotions, predictions, with guards on history.

Revision: 0002
"""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_GUARDED = (
    "classification_tasks",
    "classification_patients",
    "classification_items",
    "classification_labels",
    "classification_adapters",
    "classification_evaluations",
    "classification_checks",
    "classification_promotions",
)
_REFUSAL = "records of the classification workflow are only ever added"


def _sqlite_guards() -> Iterator[str]:
    for table in _GUARDED:
        for verb in ("UPDATE", "DELETE"):
            yield (
                f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END"
            )


def _postgresql_guards() -> Iterator[str]:
    yield (
        "CREATE FUNCTION classification_refuse() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{_REFUSAL}'; END $$"
    )
    for table in _GUARDED:
        yield (
            f"CREATE TRIGGER {table}_no_change BEFORE UPDATE OR DELETE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION classification_refuse()"
        )
        yield (
            f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION classification_refuse()"
        )


def upgrade() -> None:
    op.create_table(
        "classification_tasks",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("classes", sa.Text(), nullable=False),
        sa.Column("positive_class", sa.String(length=64), nullable=False),
        sa.Column("modality", sa.String(length=16), nullable=False),
        sa.Column("body_part", sa.String(length=16), nullable=False),
        sa.Column("intended_use", sa.Text(), nullable=False),
        sa.Column("not_for", sa.Text(), nullable=False),
        sa.Column("alpha", sa.Float(), nullable=False),
        sa.Column("sensitivity_floor", sa.Float(), nullable=False),
        sa.Column("patient_salt", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_classification_tasks")),
        sa.UniqueConstraint("name", name=op.f("uq_classification_tasks_name")),
    )
    op.create_table(
        "classification_adapters",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("task_id", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("identity_sha256", sa.String(length=64), nullable=False),
        sa.Column("embedding_key", sa.String(length=200), nullable=False),
        sa.Column("backbone", sa.String(length=64), nullable=False),
        sa.Column("backbone_sha256", sa.String(length=64), nullable=False),
        sa.Column("licence", sa.String(length=64), nullable=False),
        sa.Column("commercial_use", sa.Boolean(), nullable=False),
        sa.Column("prompt_mode", sa.String(length=16), nullable=False),
        sa.Column("mask_source", sa.String(length=64), nullable=False),
        sa.Column("head", sa.String(length=64), nullable=False),
        sa.Column("freeze", sa.String(length=32), nullable=False),
        sa.Column("seed", sa.Integer(), nullable=False),
        sa.Column("support_sha256", sa.String(length=64), nullable=False),
        sa.Column("calibration_sha256", sa.String(length=64), nullable=False),
        sa.Column("snapshot", sa.Text(), nullable=False),
        sa.Column("artefact", sa.LargeBinary(), nullable=False),
        sa.Column("artefact_sha256", sa.String(length=64), nullable=False),
        sa.Column("fitted_by", sa.String(length=96), nullable=False),
        sa.Column("fitted_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["task_id"], ["classification_tasks.id"], name=op.f("fk_classification_adapters_task_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_classification_adapters")),
        sa.UniqueConstraint("identity_sha256", name=op.f("uq_classification_adapters_identity_sha256")),
        sa.UniqueConstraint("task_id", "version", name=op.f("uq_classification_adapters_task_id_version")),
    )
    op.create_table(
        "classification_patients",
        sa.Column("task_id", sa.Integer(), nullable=False),
        sa.Column("patient_key", sa.String(length=64), nullable=False),
        sa.Column("split", sa.String(length=16), nullable=False),
        sa.ForeignKeyConstraint(
            ["task_id"], ["classification_tasks.id"], name=op.f("fk_classification_patients_task_id")
        ),
        sa.PrimaryKeyConstraint("task_id", "patient_key", name=op.f("pk_classification_patients")),
        sa.UniqueConstraint(
            "task_id", "patient_key", "split", name=op.f("uq_classification_patients_task_id_patient_key_split")
        ),
    )
    op.create_table(
        "classification_evaluations",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("adapter_id", sa.Integer(), nullable=False),
        sa.Column("evaluation_sha256", sa.String(length=64), nullable=False),
        sa.Column("verdict", sa.String(length=16), nullable=False),
        sa.Column("attends_to_lesion", sa.Boolean(), nullable=False),
        sa.Column("metrics", sa.Text(), nullable=False),
        sa.Column("card", sa.Text(), nullable=False),
        sa.Column("code_version", sa.String(length=32), nullable=False),
        sa.Column("evaluated_by", sa.String(length=96), nullable=False),
        sa.Column("evaluated_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["adapter_id"], ["classification_adapters.id"], name=op.f("fk_classification_evaluations_adapter_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_classification_evaluations")),
    )
    with op.batch_alter_table("classification_evaluations", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_classification_evaluations_adapter_id"), ["adapter_id"], unique=False)

    op.create_table(
        "classification_items",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("task_id", sa.Integer(), nullable=False),
        sa.Column("patient_key", sa.String(length=64), nullable=False),
        sa.Column("split", sa.String(length=16), nullable=False),
        sa.Column("source", sa.String(length=160), nullable=False),
        sa.Column("image_sha256", sa.String(length=64), nullable=False),
        sa.Column("mask_sha256", sa.String(length=64), nullable=False),
        sa.Column("mask_source", sa.String(length=16), nullable=False),
        sa.Column("look_alike", sa.String(length=16), nullable=False),
        sa.Column("area", sa.Float(), nullable=True),
        sa.Column("sex", sa.String(length=8), nullable=False),
        sa.Column("age_band", sa.String(length=16), nullable=False),
        sa.Column("site", sa.String(length=64), nullable=False),
        sa.Column("added_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["task_id", "patient_key", "split"],
            ["classification_patients.task_id", "classification_patients.patient_key", "classification_patients.split"],
            name=op.f("fk_classification_items_task_id_patient_key_split"),
        ),
        sa.ForeignKeyConstraint(["task_id"], ["classification_tasks.id"], name=op.f("fk_classification_items_task_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_classification_items")),
        sa.UniqueConstraint(
            "task_id",
            "image_sha256",
            "mask_sha256",
            name=op.f("uq_classification_items_task_id_image_sha256_mask_sha256"),
        ),
    )
    with op.batch_alter_table("classification_items", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_classification_items_task_id_split"), ["task_id", "split"], unique=False)

    op.create_table(
        "classification_checks",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("evaluation_id", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("verdict", sa.String(length=16), nullable=False),
        sa.Column("blocks", sa.Boolean(), nullable=False),
        sa.Column("value", sa.Float(), nullable=True),
        sa.Column("bound", sa.Float(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["evaluation_id"], ["classification_evaluations.id"], name=op.f("fk_classification_checks_evaluation_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_classification_checks")),
        sa.UniqueConstraint("evaluation_id", "name", name=op.f("uq_classification_checks_evaluation_id_name")),
    )
    op.create_table(
        "classification_embeddings",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("item_id", sa.Integer(), nullable=False),
        sa.Column("embedding_key", sa.String(length=200), nullable=False),
        sa.Column("mask", sa.String(length=16), nullable=False),
        sa.Column("vector", sa.LargeBinary(), nullable=False),
        sa.Column("embedded_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["item_id"], ["classification_items.id"], name=op.f("fk_classification_embeddings_item_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_classification_embeddings")),
        sa.UniqueConstraint(
            "item_id", "embedding_key", "mask", name=op.f("uq_classification_embeddings_item_id_embedding_key_mask")
        ),
    )
    op.create_table(
        "classification_labels",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("item_id", sa.Integer(), nullable=False),
        sa.Column("label", sa.String(length=64), nullable=True),
        sa.Column("labeller", sa.String(length=96), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("labelled_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["item_id"], ["classification_items.id"], name=op.f("fk_classification_labels_item_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_classification_labels")),
    )
    with op.batch_alter_table("classification_labels", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_classification_labels_item_id"), ["item_id"], unique=False)

    op.create_table(
        "classification_predictions",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("job_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("adapter_id", sa.Integer(), nullable=False),
        sa.Column("label_set", sa.Text(), nullable=False),
        sa.Column("distance", sa.Float(), nullable=True),
        sa.Column("nearest", sa.Text(), nullable=False),
        sa.Column("attends_to_lesion", sa.Boolean(), nullable=False),
        sa.Column("saliency", sa.String(length=64), nullable=True),
        sa.Column("in_mask_share", sa.Float(), nullable=True),
        sa.Column("predicted_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["adapter_id"], ["classification_adapters.id"], name=op.f("fk_classification_predictions_adapter_id")
        ),
        sa.ForeignKeyConstraint(["job_id"], ["analyses.job_id"], name=op.f("fk_classification_predictions_job_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_classification_predictions")),
        sa.UniqueConstraint("job_id", "number", name=op.f("uq_classification_predictions_job_id_number")),
    )
    op.create_table(
        "classification_promotions",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("task_id", sa.Integer(), nullable=False),
        sa.Column("adapter_id", sa.Integer(), nullable=False),
        sa.Column("evaluation_id", sa.Integer(), nullable=False),
        sa.Column("decision", sa.String(length=16), nullable=False),
        sa.Column("overrides", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("actor", sa.String(length=96), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["adapter_id"], ["classification_adapters.id"], name=op.f("fk_classification_promotions_adapter_id")
        ),
        sa.ForeignKeyConstraint(
            ["evaluation_id"],
            ["classification_evaluations.id"],
            name=op.f("fk_classification_promotions_evaluation_id"),
        ),
        sa.ForeignKeyConstraint(
            ["task_id"], ["classification_tasks.id"], name=op.f("fk_classification_promotions_task_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_classification_promotions")),
    )
    with op.batch_alter_table("classification_promotions", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_classification_promotions_task_id"), ["task_id"], unique=False)
    guards = _postgresql_guards if op.get_bind().dialect.name == "postgresql" else _sqlite_guards
    for statement in guards():
        op.execute(statement)


def downgrade() -> None:
    with op.batch_alter_table("classification_promotions", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_classification_promotions_task_id"))

    op.drop_table("classification_promotions")
    op.drop_table("classification_predictions")
    with op.batch_alter_table("classification_labels", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_classification_labels_item_id"))

    op.drop_table("classification_labels")
    op.drop_table("classification_embeddings")
    op.drop_table("classification_checks")
    with op.batch_alter_table("classification_items", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_classification_items_task_id_split"))

    op.drop_table("classification_items")
    with op.batch_alter_table("classification_evaluations", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_classification_evaluations_adapter_id"))

    op.drop_table("classification_evaluations")
    op.drop_table("classification_patients")
    op.drop_table("classification_adapters")
    op.drop_table("classification_tasks")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION classification_refuse()")
