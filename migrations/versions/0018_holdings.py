"""What is searched and retrieved, storage commitment both ways, and sources that studies are fetched from.

Revision: 0018
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.types import TypeEngine

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
_TABLES = (
    "fetched_studies",
    "fetch_sources",
    "delivery_proofs",
    "commitment_requests",
    "object_headers",
    "held_series",
    "held_studies",
)
_KNOWN_BEFORE = (
    """
    INSERT INTO held_studies (study_id, study_instance_uid, patient_id, folded_name, ideographic_name, phonetic_name,
        birth_date, sex, study_date, study_time, accession_number, study_number, description, folded_referrer,
        attributes, is_due)
    SELECT id, study_instance_uid, patient_id, '', '', '', '', '', study_date, '', accession_number, '',
        study_description, '', '{}', TRUE
    FROM studies
    """,
    """
    INSERT INTO held_series (study_id, series_instance_uid, modality, series_number, description, body_part,
        series_date, series_time, performed_date, performed_time, written, attributes)
    SELECT study_id, series_instance_uid, MAX(modality), NULL, '', '', '', '', '', '', FALSE, '{}'
    FROM instances WHERE current AND deleted_at IS NULL GROUP BY study_id, series_instance_uid
    """,
    """
    INSERT INTO held_series (study_id, series_instance_uid, modality, series_number, description, body_part,
        series_date, series_time, performed_date, performed_time, written, attributes)
    SELECT study_id, series_instance_uid, '', NULL, '', '', '', '', '', '', TRUE, '{}'
    FROM result_objects WHERE deleted_at IS NULL GROUP BY study_id, series_instance_uid
    ON CONFLICT DO NOTHING
    """,
)
"""What the database knows of studies that came before: they are found by that until their headers are read."""


def upgrade() -> None:
    _make_holdings()
    _make_commitment()
    _make_fetching()
    op.add_column("peers", sa.Column("store_address", sa.String(length=300), nullable=True))
    op.add_column("destinations", sa.Column("proof", sa.String(length=16), nullable=False, server_default="none"))
    op.add_column("destinations", sa.Column("proof_address", sa.String(length=300), nullable=True))
    with op.batch_alter_table("destinations") as table:
        table.alter_column("proof", existing_type=sa.String(length=16), server_default=None)


def downgrade() -> None:
    with op.batch_alter_table("destinations") as table:
        table.drop_column("proof_address")
        table.drop_column("proof")
    with op.batch_alter_table("peers") as table:
        table.drop_column("store_address")
    for name in _TABLES:
        op.drop_table(name)


def _make_holdings() -> None:
    op.create_table(
        "held_studies",
        sa.Column("study_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("patient_id", _compared(64), nullable=False),
        sa.Column("folded_name", _compared(324), nullable=False),
        sa.Column("ideographic_name", _compared(324), nullable=False),
        sa.Column("phonetic_name", _compared(324), nullable=False),
        sa.Column("birth_date", _compared(8), nullable=False),
        sa.Column("sex", _compared(16), nullable=False),
        sa.Column("study_date", _compared(8), nullable=False),
        sa.Column("study_time", _compared(16), nullable=False),
        sa.Column("accession_number", _compared(64), nullable=False),
        sa.Column("study_number", _compared(64), nullable=False),
        sa.Column("description", _compared(64), nullable=False),
        sa.Column("folded_referrer", _compared(324), nullable=False),
        sa.Column("attributes", sa.Text(), nullable=False),
        sa.Column("is_due", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name=op.f("fk_held_studies_study_id")),
        sa.PrimaryKeyConstraint("study_id", name=op.f("pk_held_studies")),
        sa.UniqueConstraint("study_instance_uid", name=op.f("uq_held_studies_study_instance_uid")),
    )
    op.create_index(op.f("ix_held_studies_accession_number"), "held_studies", ["accession_number"])
    op.create_index(
        "ix_held_studies_due",
        "held_studies",
        ["study_id"],
        sqlite_where=sa.text("is_due = 1"),
        postgresql_where=sa.text("is_due"),
    )
    op.create_index(op.f("ix_held_studies_folded_name_study_id"), "held_studies", ["folded_name", "study_id"])
    op.create_index(op.f("ix_held_studies_patient_id_study_id"), "held_studies", ["patient_id", "study_id"])
    op.create_index(op.f("ix_held_studies_study_date_study_id"), "held_studies", ["study_date", "study_id"])
    op.create_table(
        "held_series",
        sa.Column("study_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("series_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("modality", _compared(16), nullable=False),
        sa.Column("series_number", sa.Integer(), nullable=True),
        sa.Column("description", _compared(64), nullable=False),
        sa.Column("body_part", _compared(16), nullable=False),
        sa.Column("series_date", _compared(8), nullable=False),
        sa.Column("series_time", _compared(16), nullable=False),
        sa.Column("performed_date", _compared(8), nullable=False),
        sa.Column("performed_time", _compared(16), nullable=False),
        sa.Column("written", sa.Boolean(), nullable=False),
        sa.Column("attributes", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name=op.f("fk_held_series_study_id")),
        sa.PrimaryKeyConstraint("study_id", "series_instance_uid", name=op.f("pk_held_series")),
    )
    op.create_index(op.f("ix_held_series_modality_study_id"), "held_series", ["modality", "study_id"])
    op.create_index(op.f("ix_held_series_series_instance_uid"), "held_series", ["series_instance_uid"])
    op.create_table(
        "object_headers",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("sop_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("instance_number", sa.Integer(), nullable=True),
        sa.Column("pixel_rows", sa.Integer(), nullable=True),
        sa.Column("pixel_columns", sa.Integer(), nullable=True),
        sa.Column("frames", sa.Integer(), nullable=True),
        sa.Column("attributes", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name=op.f("fk_object_headers_study_id")),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_object_headers")),
    )
    op.create_index(op.f("ix_object_headers_sop_instance_uid"), "object_headers", ["sop_instance_uid"])
    op.create_index(op.f("ix_object_headers_study_id"), "object_headers", ["study_id"])
    for statement in _KNOWN_BEFORE:
        op.execute(statement)


def _compared(characters: int) -> TypeEngine[str]:
    return sa.String(characters).with_variant(sa.String(characters, collation="C"), "postgresql")


def _make_commitment() -> None:
    op.create_table(
        "commitment_requests",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("transaction_uid", sa.String(length=64), nullable=False),
        sa.Column("peer", sa.String(length=32), nullable=False),
        sa.Column("calling_aet", sa.String(length=16), nullable=False),
        sa.Column("items", sa.Text(), nullable=False),
        sa.Column("failures", sa.Text(), nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_attempt_at", _TIME, nullable=False),
        sa.Column("asked_at", _TIME, nullable=False),
        sa.Column("judged_at", _TIME, nullable=True),
        sa.Column("reported_at", _TIME, nullable=True),
        sa.Column("code", sa.String(length=64), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_commitment_requests")),
        sa.UniqueConstraint("peer", "transaction_uid", name=op.f("uq_commitment_requests_peer_transaction_uid")),
    )
    op.create_index(
        op.f("ix_commitment_requests_state_next_attempt_at"), "commitment_requests", ["state", "next_attempt_at"]
    )
    op.create_table(
        "delivery_proofs",
        sa.Column("delivery_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("destination", sa.String(length=300), nullable=False),
        sa.Column("way", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("transaction_uid", sa.String(length=64), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("resent", sa.Integer(), nullable=False),
        sa.Column("next_attempt_at", _TIME, nullable=False),
        sa.Column("asked_at", _TIME, nullable=True),
        sa.Column("committed_at", _TIME, nullable=True),
        sa.Column("code", sa.String(length=64), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["delivery_id"], ["deliveries.id"], name=op.f("fk_delivery_proofs_delivery_id")),
        sa.PrimaryKeyConstraint("delivery_id", name=op.f("pk_delivery_proofs")),
    )
    op.create_index(
        op.f("ix_delivery_proofs_state_destination_next_attempt_at"),
        "delivery_proofs",
        ["state", "destination", "next_attempt_at"],
    )
    op.create_index(op.f("ix_delivery_proofs_transaction_uid"), "delivery_proofs", ["transaction_uid"])


def _make_fetching() -> None:
    op.create_table(
        "fetch_sources",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("address", sa.String(length=300), nullable=False),
        sa.Column("way", sa.String(length=16), nullable=False),
        sa.Column("filter", sa.Text(), nullable=False),
        sa.Column("every_seconds", sa.Integer(), nullable=True),
        sa.Column("settle_seconds", sa.Integer(), nullable=False),
        sa.Column("hours", sa.String(length=16), nullable=True),
        sa.Column("studies_per_hour", sa.Integer(), nullable=True),
        sa.Column("priors", sa.Integer(), nullable=True),
        sa.Column("priors_after", sa.Integer(), nullable=False),
        sa.Column("lane", sa.String(length=16), nullable=False),
        sa.Column("credentials", sa.Text(), nullable=True),
        sa.Column("paused", sa.Boolean(), nullable=False),
        sa.Column("added_by", sa.String(length=96), nullable=False),
        sa.Column("added_at", _TIME, nullable=False),
        sa.Column("changed_at", _TIME, nullable=False),
        sa.Column("asked_at", _TIME, nullable=True),
        sa.Column("next_ask_at", _TIME, nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("code", sa.String(length=64), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fetch_sources")),
        sa.UniqueConstraint("name", name=op.f("uq_fetch_sources_name")),
    )
    op.create_table(
        "fetched_studies",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("source", sa.String(length=32), nullable=False),
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("is_prior", sa.Boolean(), nullable=False),
        sa.Column("stated", sa.Integer(), nullable=True),
        sa.Column("instances", sa.Integer(), nullable=True),
        sa.Column("counted_at", _TIME, nullable=False),
        sa.Column("fetched_instances", sa.Integer(), nullable=True),
        sa.Column("fetched_at", _TIME, nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_attempt_at", _TIME, nullable=False),
        sa.Column("lease_owner", sa.String(length=64), nullable=True),
        sa.Column("lease_expires_at", _TIME, nullable=True),
        sa.Column("asked_by", sa.String(length=96), nullable=False),
        sa.Column("opened_at", _TIME, nullable=False),
        sa.Column("code", sa.String(length=64), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fetched_studies")),
        sa.UniqueConstraint("source", "study_instance_uid", name=op.f("uq_fetched_studies_source_study_instance_uid")),
    )
    op.create_index(op.f("ix_fetched_studies_source_fetched_at"), "fetched_studies", ["source", "fetched_at"])
    op.create_index(op.f("ix_fetched_studies_state_next_attempt_at"), "fetched_studies", ["state", "next_attempt_at"])
