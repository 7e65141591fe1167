"""Peers that may come in, callers that were turned away, and what peers used in each hour.

Revision: 0012
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _make_peers()
    _make_refused_peers()
    op.create_table(
        "peer_usage",
        sa.Column("hour", sa.DateTime(timezone=True), nullable=False),
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("associations", sa.BigInteger(), nullable=False),
        sa.Column("images", sa.BigInteger(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("hour", "name", name=op.f("pk_peer_usage")),
    )


def downgrade() -> None:
    op.drop_table("peer_usage")
    op.drop_table("refused_peers")
    op.drop_table("peers")


def _make_peers() -> None:
    op.create_table(
        "peers",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("calling_aet", sa.String(length=16), nullable=False),
        sa.Column("called_aet", sa.String(length=16), nullable=True),
        sa.Column("network", sa.String(length=64), nullable=True),
        sa.Column("certificate_name", sa.String(length=255), nullable=True),
        sa.Column("services", sa.String(length=64), nullable=False),
        sa.Column("sop_classes", sa.Text(), nullable=True),
        sa.Column("lane", sa.String(length=16), nullable=False),
        sa.Column("associations_per_hour", sa.Integer(), nullable=True),
        sa.Column("images_per_hour", sa.Integer(), nullable=True),
        sa.Column("megabytes_per_hour", sa.Integer(), nullable=True),
        sa.Column("query_address", sa.String(length=300), nullable=True),
        sa.Column("allowed", sa.Boolean(), nullable=False),
        sa.Column("added_by", sa.String(length=96), nullable=False),
        sa.Column("added_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_seen_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_peers")),
        sa.UniqueConstraint("name", name=op.f("uq_peers_name")),
    )
    op.create_index(op.f("ix_peers_calling_aet"), "peers", ["calling_aet"])


def _make_refused_peers() -> None:
    op.create_table(
        "refused_peers",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("calling_aet", sa.String(length=16), nullable=False),
        sa.Column("called_aet", sa.String(length=16), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.Column("code", sa.String(length=64), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("first_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_refused_peers")),
        sa.UniqueConstraint(
            "calling_aet", "called_aet", "address", name=op.f("uq_refused_peers_calling_aet_called_aet_address")
        ),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_refused_peers_address_last_at"), "refused_peers", ["address", "last_at"])
    op.create_index(op.f("ix_refused_peers_last_at"), "refused_peers", ["last_at"])
