"""Words in the details of audit events are found by an index.

Revision: 0010
"""

from __future__ import annotations

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

# What is not a letter or a digit separates words, in what is looked for as well: codes, UIDs and digests are found as
# people type them, whatever the parser of the database would take a dot or an underscore for.
_SEPARATORS = "{}[]\"':,;._-/\\+*=<>()@#%&|!?~^`$«»"
_FROM = _SEPARATORS.replace("\\", "\\\\").replace("'", "''").replace("%", "%%")
_POSTGRESQL = (
    (
        "CREATE FUNCTION audit_words(details text) RETURNS tsvector LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS "
        f"$body$ SELECT to_tsvector('pg_catalog.simple', translate(details, E'{_FROM}', '{' ' * len(_SEPARATORS)}')) "
        "$body$"
    ),
    "CREATE INDEX audit_events_words ON audit_events USING gin (audit_words(details))",
)
_SQLITE = (
    (
        "CREATE VIRTUAL TABLE audit_events_words USING fts5("
        "details, content='', tokenize='unicode61 remove_diacritics 0')"
    ),
    (
        "CREATE TRIGGER audit_events_find AFTER INSERT ON audit_events "
        "BEGIN INSERT INTO audit_events_words (rowid, details) VALUES (NEW.seq, NEW.details); END"
    ),
    "INSERT INTO audit_events_words (rowid, details) SELECT seq, details FROM audit_events",
)


def upgrade() -> None:
    for statement in _POSTGRESQL if op.get_bind().dialect.name == "postgresql" else _SQLITE:
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP INDEX audit_events_words")
        op.execute("DROP FUNCTION audit_words(text)")
        return
    op.execute("DROP TRIGGER audit_events_find")
    op.execute("DROP TABLE audit_events_words")
