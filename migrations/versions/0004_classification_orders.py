"""Orders to fit and to evaluate; items of tasks take the place of the old support set, which only held the starter.

Revision: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "classification_orders",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("task_id", sa.Integer(), nullable=False),
        sa.Column("adapter_id", sa.Integer(), nullable=True),
        sa.Column("head", sa.String(length=64), nullable=True),
        sa.Column("seed", sa.Integer(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("lease_owner", sa.String(length=64), nullable=True),
        sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("code", sa.String(length=64), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("ordered_by", sa.String(length=96), nullable=False),
        sa.Column("ordered_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["adapter_id"], ["classification_adapters.id"], name=op.f("fk_classification_orders_adapter_id")
        ),
        sa.ForeignKeyConstraint(
            ["task_id"], ["classification_tasks.id"], name=op.f("fk_classification_orders_task_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_classification_orders")),
    )
    with op.batch_alter_table("classification_orders", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_classification_orders_state_id"), ["state", "id"], unique=False)
    op.drop_table("support_items")


def downgrade() -> None:
    op.create_table(
        "support_items",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("task", sa.String(length=64), nullable=False),
        sa.Column("label", sa.String(length=64), nullable=False),
        sa.Column("source", sa.String(length=128), nullable=False),
        sa.Column("embedding_key", sa.String(length=160), nullable=False),
        sa.Column("embedding", sa.LargeBinary(), nullable=False),
        sa.Column("content_sha256", sa.String(length=64), nullable=False),
        sa.Column("added_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_support_items")),
        sa.UniqueConstraint(
            "task", "embedding_key", "content_sha256", name=op.f("uq_support_items_task_embedding_key_content_sha256")
        ),
    )
    with op.batch_alter_table("classification_orders", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_classification_orders_state_id"))
    op.drop_table("classification_orders")
