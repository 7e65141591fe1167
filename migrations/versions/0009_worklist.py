"""Where each study stands beside it, with the indexes that the lists are read from, and the marks of who read what.

The standing of the studies that are there is worked out here, by the rules of ``storage.held_results`` as they are now.

Revision: 0009
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_READING_ORDER = ["rank", "minus_confidence", "arrived_at", "study_id"]
_INDEXES: tuple[tuple[str, list[str], tuple[str, ...]], ...] = (
    ("ix_standings_arrived", ["arrived_at", "study_id"], ("complete",)),
    ("ix_standings_rank", ["rank", "arrived_at", "study_id"], ("complete",)),
    ("ix_standings_waiting", ["arrived_at", "study_id"], ("waiting", "complete")),
    ("ix_standings_unread", _READING_ORDER, ("unread", "complete")),
    ("ix_standings_analysed", _READING_ORDER, ("analysed", "complete")),
    ("ix_standings_state", ["state", "arrived_at", "study_id"], ()),
)
_OTHER_INDEXES = (
    ("studies", "ix_studies_patient_id", ["patient_id"]),
    ("studies", "ix_studies_accession_number", ["accession_number"]),
    ("jobs", "ix_jobs_state_id", ["state", "id"]),
    ("deliveries", "ix_deliveries_state_id", ["state", "id"]),
)

_STANDINGS = """
    WITH held AS (
        SELECT jobs.study_id, jobs.route, jobs.state,
               row_number() OVER (PARTITION BY jobs.study_id, jobs.route ORDER BY jobs.id DESC) AS place
        FROM jobs LEFT JOIN analyses ON analyses.job_id = jobs.id
        WHERE jobs.state <> 'superseded' AND analyses.superseded_at IS NULL
    ), newest AS (
        SELECT study_id, route, state FROM held WHERE place = 1
    ), states AS (
        SELECT study_id,
               min(CASE state WHEN 'running' THEN 1 WHEN 'queued' THEN 2 WHEN 'failed' THEN 3 ELSE 4 END) AS foremost
        FROM newest GROUP BY study_id
    ), valid AS (
        SELECT jobs.study_id, jobs.route, analyses.job_id, analyses.priority, analyses.withheld,
               row_number() OVER (PARTITION BY jobs.study_id, jobs.route ORDER BY jobs.id DESC) AS place
        FROM jobs JOIN analyses ON analyses.job_id = jobs.id
        WHERE analyses.superseded_at IS NULL
    ), analysed AS (
        SELECT DISTINCT study_id FROM valid
    ), first_findings AS (
        SELECT job_id, confidence,
               CASE WHEN presence = 'assessed' THEN coalesce(label, '') = 'none'
                    ELSE presence = 'absent' OR code_meaning = 'none' END AS found_none,
               row_number() OVER (PARTITION BY job_id ORDER BY confidence DESC, number) AS place
        FROM findings
    ), results AS (
        SELECT valid.study_id, valid.job_id, valid.withheld, first_findings.confidence,
               CASE valid.priority WHEN 'STAT' THEN 0 WHEN 'HIGH' THEN 1 WHEN 'ROUTINE' THEN 2 ELSE 3 END AS rank,
               row_number() OVER (PARTITION BY valid.study_id ORDER BY
                   CASE WHEN valid.withheld IS NULL THEN 0 ELSE 1 END,
                   CASE WHEN first_findings.job_id IS NULL THEN 1 ELSE 0 END,
                   CASE valid.priority WHEN 'STAT' THEN 0 WHEN 'HIGH' THEN 1 WHEN 'ROUTINE' THEN 2 ELSE 3 END,
                   CASE WHEN first_findings.found_none THEN 0.0 ELSE coalesce(first_findings.confidence, 0.0) END DESC,
                   valid.route BYTEWISE
               ) AS place
        FROM valid
        JOIN newest ON newest.study_id = valid.study_id AND newest.route = valid.route
        LEFT JOIN first_findings ON first_findings.job_id = valid.job_id AND first_findings.place = 1
        WHERE valid.place = 1
    ), counts AS (
        SELECT study_id, count(*) AS number FROM instances WHERE current GROUP BY study_id
    ), told AS (
        SELECT studies.id AS study_id, studies.last_instance_at AS arrived_at,
               CASE WHEN studies.closed_at IS NULL THEN 'receiving'
                    WHEN states.foremost = 1 THEN 'running' WHEN states.foremost = 2 THEN 'queued'
                    WHEN states.foremost = 3 THEN 'failed' WHEN states.foremost = 4 THEN 'succeeded'
                    ELSE 'not_applicable' END AS state,
               CASE WHEN results.job_id IS NULL OR results.withheld IS NOT NULL THEN 4 ELSE results.rank END AS rank,
               0.0 - coalesce(results.confidence, 0.0) AS minus_confidence,
               results.job_id AS leading_job_id,
               coalesce(counts.number, 0) AS instances,
               studies.closed_at IS NOT NULL AS complete,
               analysed.study_id IS NOT NULL AS analysed
        FROM studies
        LEFT JOIN states ON states.study_id = studies.id
        LEFT JOIN results ON results.study_id = studies.id AND results.place = 1
        LEFT JOIN counts ON counts.study_id = studies.id
        LEFT JOIN analysed ON analysed.study_id = studies.id
    )
    INSERT INTO standings (study_id, state, rank, minus_confidence, arrived_at, leading_job_id, instances, complete,
                           analysed, waiting, unread)
    SELECT study_id, state, rank, minus_confidence, arrived_at, leading_job_id, instances, complete, analysed,
           NOT analysed AND state <> 'not_applicable', analysed
    FROM told
"""


def upgrade() -> None:
    op.create_table(
        "standings",
        sa.Column("study_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("minus_confidence", sa.Float(), nullable=False),
        sa.Column("arrived_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("leading_job_id", sa.Integer(), nullable=True),
        sa.Column("instances", sa.Integer(), nullable=False),
        sa.Column("complete", sa.Boolean(), nullable=False),
        sa.Column("analysed", sa.Boolean(), nullable=False),
        sa.Column("waiting", sa.Boolean(), nullable=False),
        sa.Column("unread", sa.Boolean(), nullable=False),
        sa.Column("read_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("read_by", sa.String(length=96), nullable=True),
        sa.Column("read_rank", sa.Integer(), nullable=True),
        sa.Column("read_results", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name=op.f("fk_standings_study_id")),
        sa.PrimaryKeyConstraint("study_id", name=op.f("pk_standings")),
    )
    _work_out_standings(op.get_bind())
    for name, columns, flags in _INDEXES:
        where: dict[str, Any] = {
            "sqlite_where": sa.text(" AND ".join(f"{flag} = 1" for flag in flags)),
            "postgresql_where": sa.text(" AND ".join(flags)),
        }
        op.create_index(op.f(name), "standings", columns, **(where if flags else {}))
    for table, name, columns in _OTHER_INDEXES:
        op.create_index(op.f(name), table, columns)


def _work_out_standings(connection: sa.Connection) -> None:
    is_sqlite = connection.dialect.name == "sqlite"
    # Names are compared as Python compares them, whatever the language of the database.
    statement = _STANDINGS.replace("BYTEWISE", "COLLATE BINARY" if is_sqlite else 'COLLATE "C"')
    if not is_sqlite:
        # The planner takes the newest of each for few, and would look at all jobs anew for each study.
        op.execute("SET LOCAL enable_nestloop = off")
    op.execute(statement)
    if not is_sqlite:
        op.execute("SET LOCAL enable_nestloop = on")


def downgrade() -> None:
    for table, name, _ in _OTHER_INDEXES:
        op.drop_index(op.f(name), table_name=table)
    op.drop_table("standings")
