"""What an analysis shows for its answer: attention map and panels.

Revision: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "explanations",
        sa.Column("job_id", sa.Integer(), nullable=False),
        sa.Column("attention", sa.String(length=64), nullable=False),
        sa.Column("panels", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["analyses.job_id"], name=op.f("fk_explanations_job_id")),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_explanations")),
    )


def downgrade() -> None:
    op.drop_table("explanations")
