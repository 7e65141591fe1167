"""Several analyses for each study: routes, what is known of series, and results that later ones replace.

Jobs of before belong to the route that ships for what was analysed then, head MR. An association protects every study
that it sent.

Revision: 0006
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_BEFORE = "head-mr"


def upgrade() -> None:
    _add_tables()
    _widen_jobs()
    _widen_results()
    _link_associations()
    with op.batch_alter_table("processes", schema=None) as batch_op:
        batch_op.add_column(sa.Column("serves", sa.Text(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("processes", schema=None) as batch_op:
        batch_op.drop_column("serves")
    _unlink_associations()
    with op.batch_alter_table("findings", schema=None) as batch_op:
        batch_op.drop_column("area_mm2")
        batch_op.drop_column("extent")
    with op.batch_alter_table("analyses", schema=None) as batch_op:
        for column in ("withheld", "superseded_by", "superseded_at"):
            batch_op.drop_column(column)
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.drop_constraint(batch_op.f("uq_jobs_study_id_revision_route"), type_="unique")
        batch_op.create_unique_constraint(batch_op.f("uq_jobs_study_id_revision"), ["study_id", "revision"])
        for column in ("wanted_sha256", "wanted", "analyser", "pool", "routes_sha256", "route"):
            batch_op.drop_column(column)
    for table in ("rejections", "routings", "route_files", "series"):
        op.drop_table(table)


def _add_tables() -> None:
    op.create_table(
        "series",
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("series_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("facts", sa.Text(), nullable=False),
        sa.Column("read_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name=op.f("fk_series_study_id")),
        sa.PrimaryKeyConstraint("study_id", "series_instance_uid", name=op.f("pk_series")),
    )
    op.create_table(
        "route_files",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("first_used_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_route_files")),
    )
    op.create_table(
        "routings",
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("routes_sha256", sa.String(length=64), nullable=False),
        sa.Column("applies", sa.Boolean(), nullable=False),
        sa.Column("record", sa.Text(), nullable=False),
        sa.Column("reasons", sa.Text(), nullable=False),
        sa.Column("routed_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name=op.f("fk_routings_study_id")),
        sa.PrimaryKeyConstraint("study_id", "revision", name=op.f("pk_routings")),
    )
    with op.batch_alter_table("routings", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_routings_routed_at"), ["routed_at"], unique=False)
    op.create_table(
        "rejections",
        sa.Column("job_id", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("code", sa.String(length=64), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["analyses.job_id"], name=op.f("fk_rejections_job_id")),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_rejections")),
    )
    with op.batch_alter_table("rejections", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_rejections_state_next_attempt_at"), ["state", "next_attempt_at"], unique=False
        )


def _widen_jobs() -> None:
    columns = (
        sa.Column("route", sa.String(length=32), nullable=False, server_default=_BEFORE),
        sa.Column("routes_sha256", sa.String(length=64), nullable=True),
        sa.Column("pool", sa.String(length=32), nullable=False, server_default="default"),
        sa.Column("analyser", sa.String(length=64), nullable=False, server_default="zero-shot"),
        sa.Column("wanted", sa.Text(), nullable=False, server_default="[]"),
        sa.Column("wanted_sha256", sa.String(length=64), nullable=False, server_default=""),
    )
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        for column in columns:
            batch_op.add_column(column)
        batch_op.drop_constraint(batch_op.f("uq_jobs_study_id_revision"), type_="unique")
        batch_op.create_unique_constraint(
            batch_op.f("uq_jobs_study_id_revision_route"), ["study_id", "revision", "route"]
        )
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        for column in columns:
            if column.server_default is not None:
                batch_op.alter_column(column.name, existing_type=column.type, server_default=None)


def _widen_results() -> None:
    with op.batch_alter_table("analyses", schema=None) as batch_op:
        batch_op.add_column(sa.Column("superseded_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("superseded_by", sa.Integer(), nullable=True))
        batch_op.add_column(sa.Column("withheld", sa.String(length=64), nullable=True))
    with op.batch_alter_table("findings", schema=None) as batch_op:
        batch_op.add_column(sa.Column("extent", sa.String(length=8), nullable=False, server_default="volume"))
        batch_op.add_column(sa.Column("area_mm2", sa.Float(), nullable=False, server_default="0"))
    with op.batch_alter_table("findings", schema=None) as batch_op:
        batch_op.alter_column("extent", existing_type=sa.String(length=8), server_default=None)
        batch_op.alter_column("area_mm2", existing_type=sa.Float(), server_default=None)


def _link_associations() -> None:
    op.create_table(
        "association_studies",
        sa.Column("association_id", sa.String(length=36), nullable=False),
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["association_id"],
            ["associations.id"],
            name=op.f("fk_association_studies_association_id"),
        ),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name=op.f("fk_association_studies_study_id")),
        sa.PrimaryKeyConstraint("association_id", "study_id", name=op.f("pk_association_studies")),
    )
    with op.batch_alter_table("association_studies", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_association_studies_study_id"), ["study_id"], unique=False)
    op.execute(
        "INSERT INTO association_studies (association_id, study_id) "
        "SELECT id, study_id FROM associations WHERE study_id IS NOT NULL"
    )
    with op.batch_alter_table("associations", schema=None) as batch_op:
        batch_op.add_column(sa.Column("last_store_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.drop_index(batch_op.f("ix_associations_study_id_closed_at"))
        batch_op.drop_constraint(batch_op.f("fk_associations_study_id"), type_="foreignkey")
        batch_op.drop_column("study_id")
        batch_op.create_index(batch_op.f("ix_associations_closed_at"), ["closed_at"], unique=False)
    op.execute("UPDATE associations SET last_store_at = opened_at WHERE closed_at IS NULL")


def _unlink_associations() -> None:
    with op.batch_alter_table("associations", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_associations_closed_at"))
        batch_op.add_column(sa.Column("study_id", sa.Integer(), nullable=True))
        batch_op.create_foreign_key(batch_op.f("fk_associations_study_id"), "studies", ["study_id"], ["id"])
        batch_op.create_index(batch_op.f("ix_associations_study_id_closed_at"), ["study_id", "closed_at"], unique=False)
        batch_op.drop_column("last_store_at")
    op.execute(
        "UPDATE associations SET study_id = (SELECT max(study_id) FROM association_studies "
        "WHERE association_studies.association_id = associations.id)"
    )
    op.drop_table("association_studies")
