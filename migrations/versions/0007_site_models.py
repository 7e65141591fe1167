"""Models that a site adds, the organs that they draw beside lesions, and the few-shot task that a job needs.

Such models have no measure of how unlike an input is to what they were trained on: that column may be empty.

Revision: 0007
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "site_models",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("files", sa.Text(), nullable=False),
        sa.Column("card", sa.Text(), nullable=False),
        sa.Column("added_by", sa.String(length=96), nullable=False),
        sa.Column("added_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("removed_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_site_models")),
    )
    with op.batch_alter_table("site_models", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_site_models_name"), ["name"], unique=False)
    op.create_table(
        "structures",
        sa.Column("job_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("site", sa.Text(), nullable=False),
        sa.Column("volume_ml", sa.Float(), nullable=False),
        sa.Column("tracking_id", sa.String(length=64), nullable=False),
        sa.Column("tracking_uid", sa.String(length=64), nullable=False),
        sa.Column("lesions", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["analyses.job_id"], name=op.f("fk_structures_job_id")),
        sa.PrimaryKeyConstraint("job_id", "number", name=op.f("pk_structures")),
    )
    with op.batch_alter_table("findings", schema=None) as batch_op:
        batch_op.add_column(sa.Column("site", sa.Text(), nullable=True))
    with op.batch_alter_table("analyses", schema=None) as batch_op:
        batch_op.alter_column("out_of_distribution", existing_type=sa.Float(), nullable=True)
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.add_column(sa.Column("task", sa.String(length=64), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.drop_column("task")
    op.execute("UPDATE analyses SET out_of_distribution = 0 WHERE out_of_distribution IS NULL")
    with op.batch_alter_table("analyses", schema=None) as batch_op:
        batch_op.alter_column("out_of_distribution", existing_type=sa.Float(), nullable=False)
    with op.batch_alter_table("findings", schema=None) as batch_op:
        batch_op.drop_column("site")
    op.drop_table("structures")
    with op.batch_alter_table("site_models", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_site_models_name"))
    op.drop_table("site_models")
