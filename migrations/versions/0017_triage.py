"""Triage policies on trial, channels with their announcements, urgent studies and workitems.

Revision: 0017
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    _make_policies()
    _make_channels()
    _make_urgent_studies()
    _make_workitems()
    op.add_column("peers", sa.Column("care_setting", sa.String(length=16), nullable=True))
    op.add_column("destinations", sa.Column("shows_priority", sa.Boolean(), nullable=False, server_default=sa.false()))
    with op.batch_alter_table("destinations") as table:
        table.alter_column("shows_priority", existing_type=sa.Boolean(), server_default=None)


def downgrade() -> None:
    with op.batch_alter_table("destinations") as table:
        table.drop_column("shows_priority")
    with op.batch_alter_table("peers") as table:
        table.drop_column("care_setting")
    for name in ("workitems", "urgent_studies", "announcements", "channels", "shadow_decisions", "triage_policies"):
        op.drop_table(name)


def _make_policies() -> None:
    op.create_table(
        "triage_policies",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("changed_by", sa.String(length=96), nullable=False),
        sa.Column("added_at", _TIME, nullable=False),
        sa.Column("changed_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_triage_policies")),
    )
    op.create_index(
        op.f("ix_triage_policies_live"),
        "triage_policies",
        ["state"],
        unique=True,
        sqlite_where=sa.text("state = 'live'"),
        postgresql_where=sa.text("state = 'live'"),
    )
    op.create_table(
        "shadow_decisions",
        sa.Column("job_id", sa.Integer(), nullable=False),
        sa.Column("policy_sha256", sa.String(length=64), nullable=False),
        sa.Column("priority", sa.String(length=16), nullable=False),
        sa.Column("rule", sa.String(length=64), nullable=False),
        sa.Column("decided_at", _TIME, nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["analyses.job_id"], name=op.f("fk_shadow_decisions_job_id")),
        sa.PrimaryKeyConstraint("job_id", "policy_sha256", name=op.f("pk_shadow_decisions")),
    )
    op.create_index(
        op.f("ix_shadow_decisions_policy_sha256_decided_at"), "shadow_decisions", ["policy_sha256", "decided_at"]
    )


def _make_channels() -> None:
    op.create_table(
        "channels",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("address", sa.String(length=300), nullable=False),
        sa.Column("priorities", sa.String(length=64), nullable=False),
        sa.Column("routes", sa.Text(), nullable=True),
        sa.Column("escalation_minutes", sa.Integer(), nullable=True),
        sa.Column("patient_data", sa.Boolean(), nullable=False),
        sa.Column("private_network", sa.Boolean(), nullable=False),
        sa.Column("credentials", sa.Text(), nullable=True),
        sa.Column("options", sa.Text(), nullable=False),
        sa.Column("group_seconds", sa.Integer(), nullable=False),
        sa.Column("per_hour", sa.Integer(), nullable=True),
        sa.Column("paused", sa.Boolean(), nullable=False),
        sa.Column("added_by", sa.String(length=96), nullable=False),
        sa.Column("added_at", _TIME, nullable=False),
        sa.Column("changed_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_channels")),
        sa.UniqueConstraint("name", name=op.f("uq_channels_name")),
    )
    op.create_table(
        "announcements",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("fact", sa.String(length=64), nullable=False),
        sa.Column("channel", sa.String(length=32), nullable=False),
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("patient_key", sa.String(length=32), nullable=True),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("job_id", sa.Integer(), nullable=True),
        sa.Column("level", sa.String(length=16), nullable=False),
        sa.Column("priority", sa.String(length=16), nullable=True),
        sa.Column("previous", sa.String(length=16), nullable=True),
        sa.Column("opened_at", _TIME, nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_attempt_at", _TIME, nullable=False),
        sa.Column("group_key", sa.String(length=64), nullable=True),
        sa.Column("reached", sa.Boolean(), nullable=False),
        sa.Column("lease_owner", sa.String(length=64), nullable=True),
        sa.Column("lease_expires_at", _TIME, nullable=True),
        sa.Column("code", sa.String(length=64), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("announced_at", _TIME, nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["analyses.job_id"], name=op.f("fk_announcements_job_id")),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name=op.f("fk_announcements_study_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_announcements")),
        sa.UniqueConstraint("key", name=op.f("uq_announcements_key")),
    )
    op.create_index(op.f("ix_announcements_channel_announced_at"), "announcements", ["channel", "announced_at"])
    op.create_index(
        op.f("ix_announcements_state_channel_next_attempt_at"), "announcements", ["state", "channel", "next_attempt_at"]
    )
    op.create_index(op.f("ix_announcements_study_id"), "announcements", ["study_id"])


def _make_urgent_studies() -> None:
    op.create_table(
        "urgent_studies",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("job_id", sa.Integer(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("route", sa.String(length=32), nullable=False),
        sa.Column("priority", sa.String(length=16), nullable=False),
        sa.Column("arrived_at", _TIME, nullable=False),
        sa.Column("analysed_at", _TIME, nullable=False),
        sa.Column("waiting_since", _TIME, nullable=False),
        sa.Column("announced_at", _TIME, nullable=True),
        sa.Column("announced_by", sa.String(length=32), nullable=True),
        sa.Column("opened_at", _TIME, nullable=True),
        sa.Column("opened_by", sa.String(length=96), nullable=True),
        sa.Column("opened_through", sa.String(length=16), nullable=True),
        sa.Column("escalate_at", _TIME, nullable=True),
        sa.Column("escalations", sa.Integer(), nullable=False),
        sa.Column("ended_at", _TIME, nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["analyses.job_id"], name=op.f("fk_urgent_studies_job_id")),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name=op.f("fk_urgent_studies_study_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_urgent_studies")),
        sa.UniqueConstraint(
            "study_id", "job_id", "analysed_at", name=op.f("uq_urgent_studies_study_id_job_id_analysed_at")
        ),
    )
    op.create_index(op.f("ix_urgent_studies_analysed_at"), "urgent_studies", ["analysed_at"])
    op.create_index(
        op.f("ix_urgent_studies_escalate_at"),
        "urgent_studies",
        ["escalate_at"],
        sqlite_where=sa.text("escalate_at IS NOT NULL"),
        postgresql_where=sa.text("escalate_at IS NOT NULL"),
    )
    op.create_index(
        op.f("ix_urgent_studies_opened_at_ended_at_waiting_since"),
        "urgent_studies",
        ["opened_at", "ended_at", "waiting_since"],
    )


def _make_workitems() -> None:
    op.create_table(
        "workitems",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("sop_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("study_id", sa.Integer(), nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("priority", sa.String(length=8), nullable=False),
        sa.Column("label", sa.String(length=64), nullable=False),
        sa.Column("worklist_label", sa.String(length=64), nullable=False),
        sa.Column("scheduled_at", _TIME, nullable=False),
        sa.Column("transaction_uid", sa.String(length=64), nullable=True),
        sa.Column("claimed_by", sa.String(length=96), nullable=True),
        sa.Column("claimed_at", _TIME, nullable=True),
        sa.Column("described", sa.Boolean(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("created_by", sa.String(length=96), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("changed_at", _TIME, nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name=op.f("fk_workitems_study_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_workitems")),
        sa.UniqueConstraint("sop_instance_uid", name=op.f("uq_workitems_sop_instance_uid")),
    )
    op.create_index(op.f("ix_workitems_described"), "workitems", ["described"])
    op.create_index(
        op.f("ix_workitems_state_priority_scheduled_at"), "workitems", ["state", "priority", "scheduled_at"]
    )
    op.create_index(op.f("ix_workitems_study_id"), "workitems", ["study_id"])
