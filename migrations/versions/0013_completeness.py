"""When a study is complete: how far each is on its way in, and the pauses that quiet times learn from.

Revision: 0013
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("association_studies", sa.Column("last_store_at", sa.DateTime(timezone=True), nullable=True))
    op.create_table(
        "study_arrivals",
        sa.Column("study_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("late_revisions", sa.Integer(), nullable=False),
        sa.Column("expected", sa.Integer(), nullable=True),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ask_code", sa.String(length=64), nullable=True),
        sa.Column("waits_for", sa.String(length=32), nullable=True),
        sa.Column("hold", sa.String(length=16), nullable=True),
        sa.Column("released_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name=op.f("fk_study_arrivals_study_id")),
        sa.PrimaryKeyConstraint("study_id", name=op.f("pk_study_arrivals")),
    )
    op.create_table(
        "arrival_gaps",
        sa.Column("id", _BIG, nullable=False),
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("calling_aet", sa.String(length=16), nullable=False),
        sa.Column("modality", sa.String(length=16), nullable=False),
        sa.Column("longest_seconds", sa.Float(), nullable=False),
        sa.Column("measured_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name=op.f("fk_arrival_gaps_study_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_arrival_gaps")),
        sa.UniqueConstraint(
            "study_id", "calling_aet", "modality", name=op.f("uq_arrival_gaps_study_id_calling_aet_modality")
        ),
    )
    op.create_index(op.f("ix_arrival_gaps_calling_aet_modality_id"), "arrival_gaps", ["calling_aet", "modality", "id"])
    # Nobody knows when the open revisions began; their deadline runs from their last image.
    op.execute(
        "INSERT INTO study_arrivals (study_id, since, late_revisions)"
        " SELECT id, last_instance_at, 0 FROM studies WHERE closed_at IS NULL"
    )


def downgrade() -> None:
    op.drop_table("arrival_gaps")
    op.drop_table("study_arrivals")
    with op.batch_alter_table("association_studies") as table:
        table.drop_column("last_store_at")
