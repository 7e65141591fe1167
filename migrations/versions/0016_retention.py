"""Retention: what was deleted, what people keep, and which files analyses rest on.

Revision: 0016
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_KEPT = ("keeps_images", "keeps_results", "keeps_pictures")
_AT_ONCE = 500
_FILES = sa.table(
    "analysis_files", sa.column("job_id", sa.Integer), sa.column("digest", sa.String), sa.column("kind", sa.String)
)


def upgrade() -> None:
    _add_tables()
    op.add_column("instances", sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("result_objects", sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index(op.f("ix_result_objects_digest"), "result_objects", ["digest"])
    op.add_column("standings", sa.Column("image_bytes", sa.BigInteger(), nullable=False, server_default="0"))
    for name in _KEPT:
        op.add_column("standings", sa.Column(name, sa.Boolean(), nullable=False, server_default=sa.false()))
    op.execute(sa.text("INSERT INTO retention_turns (id) VALUES (1)"))
    _name_files()
    _note_what_is_kept()
    for name in _KEPT:
        op.create_index(
            f"ix_standings_{name}",
            "standings",
            ["state", "rank", "arrived_at", "study_id"],
            sqlite_where=sa.text(f"{name} = 1"),
            postgresql_where=sa.text(name),
        )


def downgrade() -> None:
    for name in _KEPT:
        op.drop_index(f"ix_standings_{name}", table_name="standings")
    with op.batch_alter_table("standings") as table:
        for name in (*_KEPT, "image_bytes"):
            table.drop_column(name)
    op.drop_index(op.f("ix_result_objects_digest"), table_name="result_objects")
    with op.batch_alter_table("result_objects") as table:
        table.drop_column("deleted_at")
    with op.batch_alter_table("instances") as table:
        table.drop_column("deleted_at")
    for name in ("retention_turns", "kept_studies", "discarded_objects", "study_deletions", "analysis_files"):
        op.drop_table(name)


def _add_tables() -> None:
    op.create_table(
        "analysis_files",
        sa.Column("job_id", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=True),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["analyses.job_id"], name=op.f("fk_analysis_files_job_id")),
        sa.PrimaryKeyConstraint("job_id", "digest", name=op.f("pk_analysis_files")),
    )
    op.create_index(op.f("ix_analysis_files_digest"), "analysis_files", ["digest"])
    unmeasured = sa.text("size_bytes IS NULL")
    op.create_index(
        "ix_analysis_files_unmeasured",
        "analysis_files",
        ["job_id"],
        sqlite_where=unmeasured,
        postgresql_where=unmeasured,
    )
    op.create_table(
        "study_deletions",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("rule", sa.String(length=32), nullable=False),
        sa.Column("actor", sa.String(length=96), nullable=False),
        sa.Column("files", sa.Integer(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name=op.f("fk_study_deletions_study_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_study_deletions")),
    )
    op.create_index(op.f("ix_study_deletions_study_id"), "study_deletions", ["study_id"])
    op.create_index(op.f("ix_study_deletions_deleted_at"), "study_deletions", ["deleted_at"])
    op.create_table(
        "discarded_objects",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name=op.f("fk_discarded_objects_study_id")),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_discarded_objects")),
    )
    op.create_index(op.f("ix_discarded_objects_not_before"), "discarded_objects", ["not_before"])
    op.create_table(
        "kept_studies",
        sa.Column("study_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("kept_by", sa.String(length=96), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("kept_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name=op.f("fk_kept_studies_study_id")),
        sa.PrimaryKeyConstraint("study_id", name=op.f("pk_kept_studies")),
    )
    op.create_table(
        "retention_turns",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("lease_owner", sa.String(length=96), nullable=True),
        sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ran_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_retention_turns")),
    )


def _name_files() -> None:
    """Write which files each analysis refers to: until now that stood in several columns, some of them JSON."""
    connection = op.get_bind()
    query = sa.text(
        "SELECT a.job_id, a.grid_digest, a.overlays, e.attention, e.panels FROM analyses a"
        " LEFT JOIN explanations e ON e.job_id = a.job_id WHERE a.job_id > :after ORDER BY a.job_id LIMIT :most"
    )
    after = -1
    while rows := connection.execute(query, {"after": after, "most": _AT_ONCE}).all():
        named = {(job_id, digest): kind for row in rows for job_id, digest, kind in _files_of(*row)}
        connection.execute(
            _FILES.insert(), [{"job_id": job, "digest": digest, "kind": kind} for (job, digest), kind in named.items()]
        )
        after = rows[-1][0]
    op.execute(
        sa.text(
            "INSERT INTO analysis_files (job_id, digest, kind) SELECT p.job_id, p.saliency, 'results'"
            " FROM classification_predictions p WHERE p.saliency IS NOT NULL AND NOT EXISTS (SELECT 1"
            " FROM analysis_files f WHERE f.job_id = p.job_id AND f.digest = p.saliency)"
            " GROUP BY p.job_id, p.saliency"
        )
    )


def _files_of(
    job_id: int, grid: str, overlays: str, attention: str | None, panels: str | None
) -> Iterator[tuple[int, str, str]]:
    for digest in json.loads(overlays):
        yield job_id, digest, "pictures"
    for panel in json.loads(panels or "[]"):
        yield job_id, panel["picture"], "pictures"
    for digest in filter(None, (grid, attention)):
        yield job_id, digest, "results"


def _note_what_is_kept() -> None:
    own_jobs = "SELECT 1 FROM analysis_files f JOIN jobs j ON j.id = f.job_id WHERE j.study_id = standings.study_id"
    images = "FROM instances i WHERE i.study_id = standings.study_id"
    op.execute(
        sa.text(
            f"UPDATE standings SET image_bytes = (SELECT COALESCE(SUM(i.size_bytes), 0) {images}),"
            f" keeps_images = EXISTS (SELECT 1 {images}),"
            f" keeps_results = EXISTS ({own_jobs} AND f.kind = 'results'),"
            f" keeps_pictures = EXISTS ({own_jobs} AND f.kind = 'pictures')"
        )
    )
