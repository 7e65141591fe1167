"""Destinations as entries, the order in which they are served, and notices of studies that were not analysed.

Revision: 0015
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
_LAST_RANK = 4


def upgrade() -> None:
    _make_destinations()
    _make_notices()
    with op.batch_alter_table("result_objects") as table:
        table.add_column(sa.Column("study_id", sa.Integer(), nullable=True))
        table.add_column(sa.Column("notice_id", sa.Integer(), nullable=True))
        table.add_column(sa.Column("flaw", sa.Text(), nullable=True))
        table.alter_column("job_id", existing_type=sa.Integer(), nullable=True)
    op.execute("UPDATE result_objects SET study_id = (SELECT study_id FROM jobs WHERE jobs.id = result_objects.job_id)")
    op.execute("UPDATE result_objects SET kind = 'REJECT' WHERE kind = 'KO'")
    with op.batch_alter_table("result_objects") as table:
        table.alter_column("study_id", existing_type=sa.Integer(), nullable=False)
        table.create_foreign_key(op.f("fk_result_objects_study_id"), "studies", ["study_id"], ["id"])
        table.create_foreign_key(op.f("fk_result_objects_notice_id"), "notices", ["notice_id"], ["id"])
        table.create_index(op.f("ix_result_objects_study_id"), ["study_id"])
    _rank_deliveries()


def downgrade() -> None:
    op.drop_index(op.f("ix_deliveries_state_destination_rank_next_attempt_at_id"), "deliveries")
    op.create_index(op.f("ix_deliveries_state_next_attempt_at"), "deliveries", ["state", "next_attempt_at"])
    op.execute("DELETE FROM deliveries WHERE object_id IN (SELECT id FROM result_objects WHERE job_id IS NULL)")
    op.execute("DELETE FROM result_objects WHERE job_id IS NULL")
    op.execute("UPDATE result_objects SET kind = 'KO' WHERE kind = 'REJECT'")
    with op.batch_alter_table("deliveries") as table:
        table.drop_column("rank")
    with op.batch_alter_table("result_objects") as table:
        table.drop_index(op.f("ix_result_objects_study_id"))
        table.drop_constraint(op.f("fk_result_objects_notice_id"), type_="foreignkey")
        table.drop_constraint(op.f("fk_result_objects_study_id"), type_="foreignkey")
        table.alter_column("job_id", existing_type=sa.Integer(), nullable=False)
        for column in ("study_id", "notice_id", "flaw"):
            table.drop_column(column)
    for name in ("notices", "destination_negotiations", "destination_circuits", "destinations"):
        op.drop_table(name)


def _make_destinations() -> None:
    op.create_table(
        "destinations",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("address", sa.String(length=300), nullable=False),
        sa.Column("forms", sa.Text(), nullable=False),
        sa.Column("routes", sa.Text(), nullable=True),
        sa.Column("priorities", sa.String(length=64), nullable=True),
        sa.Column("transfer_syntaxes", sa.Text(), nullable=True),
        sa.Column("series_number_base", sa.Integer(), nullable=True),
        sa.Column("series_description", sa.String(length=64), nullable=True),
        sa.Column("character_set", sa.String(length=64), nullable=True),
        sa.Column("keeps_segmentations", sa.Boolean(), nullable=False),
        sa.Column("rejection_notes", sa.Boolean(), nullable=False),
        sa.Column("unanalysed", sa.String(length=16), nullable=False),
        sa.Column("associations", sa.Integer(), nullable=False),
        sa.Column("objects_per_association", sa.Integer(), nullable=True),
        sa.Column("kilobytes_per_second", sa.Integer(), nullable=True),
        sa.Column("credentials", sa.Text(), nullable=True),
        sa.Column("paused", sa.Boolean(), nullable=False),
        sa.Column("added_by", sa.String(length=96), nullable=False),
        sa.Column("added_at", _TIME, nullable=False),
        sa.Column("changed_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_destinations")),
        sa.UniqueConstraint("name", name=op.f("uq_destinations_name")),
    )
    op.create_table(
        "destination_circuits",
        sa.Column("destination", sa.String(length=300), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("open_until", _TIME, nullable=True),
        sa.Column("trial_until", _TIME, nullable=True),
        sa.Column("code", sa.String(length=64), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("changed_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("destination", name=op.f("pk_destination_circuits")),
    )
    op.create_table(
        "destination_negotiations",
        sa.Column("destination", sa.String(length=300), nullable=False),
        sa.Column("taken", sa.Text(), nullable=False),
        sa.Column("code", sa.String(length=64), nullable=True),
        sa.Column("asked_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("destination", name=op.f("pk_destination_negotiations")),
    )


def _make_notices() -> None:
    op.create_table(
        "notices",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("route", sa.String(length=64), nullable=False),
        sa.Column("subject_code", sa.String(length=64), nullable=False),
        sa.Column("opened_at", _TIME, nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_attempt_at", _TIME, nullable=False),
        sa.Column("code", sa.String(length=64), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name=op.f("fk_notices_study_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notices")),
        sa.UniqueConstraint("study_id", "revision", "route", name=op.f("uq_notices_study_id_revision_route")),
    )
    op.create_index(op.f("ix_notices_state_next_attempt_at"), "notices", ["state", "next_attempt_at"])


def _rank_deliveries() -> None:
    with op.batch_alter_table("deliveries") as table:
        table.add_column(sa.Column("rank", sa.Integer(), nullable=False, server_default=str(_LAST_RANK)))
    with op.batch_alter_table("deliveries") as table:
        table.alter_column("rank", existing_type=sa.Integer(), server_default=None)
    # What is due is found by destination and rank; the index by time alone served nothing but the look for it.
    op.drop_index(op.f("ix_deliveries_state_next_attempt_at"), "deliveries")
    op.create_index(
        op.f("ix_deliveries_state_destination_rank_next_attempt_at_id"),
        "deliveries",
        ["state", "destination", "rank", "next_attempt_at", "id"],
    )
