"""Audit events without a chain lock: sealed into a tree, found by study, series, patient, route, model and weights.

Revision: 0008
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_REFUSAL = "audit events are only ever added"
_KEY_LENGTH = 32
_MONTHS_AHEAD = 2
_TIME = sa.String(length=32).with_variant(sa.String(length=32, collation="C"), "postgresql")
_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_OPTIONAL = ("study", "series", "patient_key", "route", "model", "weights")
_OUTCOME = "CASE WHEN tag LIKE '%refused' THEN 'refused' WHEN tag LIKE '%failed' THEN 'failed' ELSE 'success' END"

_SQLITE_TRIGGERS = (
    *(
        f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
        f"BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END"
        for table in ("audit_events", "audit_leaves")
        for verb in ("UPDATE", "DELETE")
    ),
    # INSERT OR REPLACE deletes the row in its way without asking the triggers on DELETE.
    (
        "CREATE TRIGGER audit_events_no_replace BEFORE INSERT ON audit_events "
        "WHEN NEW.seq > 0 AND EXISTS (SELECT 1 FROM audit_events WHERE seq = NEW.seq) "
        f"BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END"
    ),
    (
        "CREATE TRIGGER audit_leaves_no_replace BEFORE INSERT ON audit_leaves "
        "WHEN EXISTS (SELECT 1 FROM audit_leaves WHERE number = NEW.number OR seq = NEW.seq) "
        f"BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END"
    ),
    (
        "CREATE TRIGGER audit_events_pending AFTER INSERT ON audit_events "
        "BEGIN INSERT INTO audit_pending (seq) VALUES (NEW.seq); END"
    ),
)
_POSTGRESQL_TRIGGERS = (
    *(
        statement
        for table in ("audit_events", "audit_leaves")
        for statement in (
            (
                f"CREATE TRIGGER {table}_no_change BEFORE UPDATE OR DELETE ON {table} "
                "FOR EACH ROW EXECUTE FUNCTION audit_events_refuse()"
            ),
            (
                f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} "
                "FOR EACH STATEMENT EXECUTE FUNCTION audit_events_refuse()"
            ),
        )
    ),
    (
        "CREATE FUNCTION audit_events_note() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN INSERT INTO audit_pending (seq) VALUES (NEW.seq); RETURN NULL; END $$"
    ),
    (
        "CREATE TRIGGER audit_events_pending AFTER INSERT ON audit_events "
        "FOR EACH ROW EXECUTE FUNCTION audit_events_note()"
    ),
)
# A month that has a partition already is left as it is. What has none goes to the default one, so that nothing that
# is to be recorded is ever turned away. The table is made first and attached then, which lets writers go on; events of
# the month that lie in the default partition are moved, where they are few enough to be moved at once.
_MAKE_PARTITION = """
CREATE FUNCTION audit_make_partition(for_month date, most bigint DEFAULT 10000) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  part text := 'audit_events_' || to_char(for_month, 'YYYY_MM');
  since text := to_char(for_month, 'YYYY-MM');
  until text := to_char(date_trunc('month', for_month) + interval '1 month', 'YYYY-MM');
  strays bigint;
BEGIN
  IF for_month > now() + interval '1 year' THEN
    RAISE EXCEPTION 'partitions are made a year ahead at most';
  END IF;
  IF to_regclass(part) IS NULL AND NOT pg_try_advisory_xact_lock(8151800631) THEN
    RETURN NULL;
  END IF;
  IF to_regclass(part) IS NOT NULL THEN
    RETURN part;
  END IF;
  SELECT count(*) INTO strays
    FROM (SELECT FROM audit_events_elsewhere WHERE at >= since AND at < until LIMIT most + 1) AS found;
  IF strays > most THEN
    RETURN NULL;
  END IF;
  EXECUTE format('CREATE TABLE %I (LIKE audit_events INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', part);
  IF strays > 0 THEN
    LOCK TABLE audit_events_elsewhere IN ACCESS EXCLUSIVE MODE;
    EXECUTE format(
      'INSERT INTO %I SELECT * FROM audit_events_elsewhere WHERE at >= %L AND at < %L', part, since, until);
    ALTER TABLE audit_events_elsewhere DISABLE TRIGGER audit_events_no_change;
    DELETE FROM audit_events_elsewhere WHERE at >= since AND at < until;
    ALTER TABLE audit_events_elsewhere ENABLE TRIGGER audit_events_no_change;
  END IF;
  EXECUTE format('ALTER TABLE audit_events ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', part, since, until);
  EXECUTE format(
    'CREATE TRIGGER audit_events_no_truncate BEFORE TRUNCATE ON %I '
    'FOR EACH STATEMENT EXECUTE FUNCTION audit_events_refuse()', part);
  RETURN part;
END $$
"""
# Detach a month that is over, all of whose events are sealed and as many as the archive has, and say so in the log.
# A month that is detached already can be dropped by naming its archive. All other rows stay as they are.
_ARCHIVE_MONTH = """
CREATE FUNCTION audit_archive_month(
  for_month date, expected bigint, leaf_runs text, digest text, by_actor text, drop_it boolean
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  part text := 'audit_events_' || to_char(for_month, 'YYYY_MM');
  named text := to_char(for_month, 'YYYY-MM');
  present bigint;
  sealed bigint;
  told text;
BEGIN
  IF digest !~ '^[0-9a-f]{64}$' OR leaf_runs !~ '^[0-9 -]*$' THEN
    RAISE EXCEPTION 'digest or leaves are not written as they must be';
  END IF;
  IF date_trunc('month', for_month) + interval '1 month' > now() AT TIME ZONE 'UTC' THEN
    RAISE EXCEPTION 'month % is not over', named;
  END IF;
  told := format('{"events":%s,"leaves":"%s","month":"%s","role":%s,"sha256":"%s"}',
    expected, leaf_runs, named, to_json(session_user::text), digest);
  IF EXISTS (SELECT FROM pg_inherits WHERE inhrelid = to_regclass(part) AND inhparent = 'audit_events'::regclass) THEN
    EXECUTE format('LOCK TABLE %I IN SHARE MODE', part);
    EXECUTE format('SELECT count(*), count(l.seq) FROM %I e LEFT JOIN audit_leaves l ON l.seq = e.seq', part)
      INTO present, sealed;
    IF present <> expected OR sealed <> expected THEN
      RAISE EXCEPTION 'month % has % events, % of them sealed, its archive has %', named, present, sealed, expected;
    END IF;
    EXECUTE format('ALTER TABLE audit_events DETACH PARTITION %I', part);
    EXECUTE format(
      'CREATE TRIGGER audit_events_no_change BEFORE UPDATE OR DELETE ON %I '
      'FOR EACH ROW EXECUTE FUNCTION audit_events_refuse()', part);
    INSERT INTO audit_archives (month, events, leaves, sha256, archived_at)
      VALUES (named, expected, leaf_runs, digest, now());
    PERFORM audit_note_archive('audit:archived', named, by_actor, told);
  ELSIF NOT EXISTS (SELECT FROM audit_archives WHERE month = named AND sha256 = digest) THEN
    RAISE EXCEPTION 'month % has no partition, or another archive', named;
  END IF;
  IF drop_it AND to_regclass(part) IS NOT NULL THEN
    EXECUTE format('DROP TABLE %I', part);
    UPDATE audit_archives SET dropped_at = now() WHERE month = named;
    PERFORM audit_note_archive('audit:dropped', named, by_actor, told);
  END IF;
END $$
"""
_NOTE_ARCHIVE = """
CREATE FUNCTION audit_note_archive(what text, named text, by_actor text, told text) RETURNS void LANGUAGE sql AS $$
  INSERT INTO audit_events (at, tag, subject, actor, outcome, details, previous_hash, hash)
  VALUES (to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US') || '+00:00',
          what, 'archive/' || named, by_actor, 'success', told, '', '')
$$
"""
# These act with their owner's rights for those who have none of them: what they call is found in fixed places, they
# wait for no lock that would hold up others, and nobody may call them who was not allowed to.
_FUNCTIONS = {
    "audit_events_note()": False,
    "audit_note_archive(text, text, text, text)": False,
    "audit_make_partition(date, bigint)": True,
    "audit_archive_month(date, bigint, text, text, text, boolean)": True,
}
_SECURE = """
DO $do$ BEGIN
  EXECUTE format('ALTER FUNCTION {function} SECURITY DEFINER SET search_path = %I, pg_temp', current_schema());
  REVOKE ALL ON FUNCTION {function} FROM PUBLIC;
END $do$
"""


def upgrade() -> None:
    _make_log()
    salt = secrets.token_hex(32)
    op.execute(sa.text("INSERT INTO audit_log (id, salt, size) VALUES (1, :salt, 0)").bindparams(salt=salt))
    op.add_column("studies", sa.Column("patient_key", sa.String(length=_KEY_LENGTH), nullable=True))
    op.add_column("analyses", sa.Column("checkpoint", sa.Text(), nullable=True))
    _key_studies(salt)
    postgresql = op.get_bind().dialect.name == "postgresql"
    _set_events_aside(postgresql=postgresql)
    _make_events(postgresql=postgresql)
    for statement in _POSTGRESQL_TRIGGERS if postgresql else _SQLITE_TRIGGERS:
        op.execute(statement)
    _carry_over(postgresql=postgresql)
    if postgresql:
        _make_functions()


def downgrade() -> None:
    postgresql = op.get_bind().dialect.name == "postgresql"
    op.rename_table("audit_events", "audit_events_now")
    _make_chain(postgresql=postgresql)
    _chain_all()
    op.drop_table("audit_events_now")
    if postgresql:
        for function in _FUNCTIONS:
            op.execute(f"DROP FUNCTION {function}")
        op.execute("ALTER TABLE audit_events RENAME CONSTRAINT pk_audit_events_chain TO pk_audit_events")
    for table in ("archives", "counts", "checkpoints", "tiles", "leaves", "pending", "log"):
        op.drop_table(f"audit_{table}")
    with op.batch_alter_table("studies", schema=None) as batch_op:
        batch_op.drop_column("patient_key")
    with op.batch_alter_table("analyses", schema=None) as batch_op:
        batch_op.drop_column("checkpoint")


def _make_log() -> None:
    op.create_table(
        "audit_log",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("salt", sa.String(length=64), nullable=False),
        sa.Column("size", _BIG, nullable=False),
        sa.Column("lease_owner", sa.String(length=96), nullable=True),
        sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_log")),
    )
    op.create_table(
        "audit_pending",
        sa.Column("seq", _BIG, autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_audit_pending")),
    )
    op.create_table(
        "audit_leaves",
        sa.Column("number", _BIG, autoincrement=False, nullable=False),
        sa.Column("seq", _BIG, nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_audit_leaves")),
        sa.UniqueConstraint("seq", name=op.f("uq_audit_leaves_seq")),
    )
    op.create_table(
        "audit_tiles",
        sa.Column("level", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("number", _BIG, autoincrement=False, nullable=False),
        sa.Column("hashes", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("level", "number", name=op.f("pk_audit_tiles")),
    )
    op.create_table(
        "audit_checkpoints",
        sa.Column("size", _BIG, autoincrement=False, nullable=False),
        sa.Column("root", sa.String(length=64), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("size", name=op.f("pk_audit_checkpoints")),
    )
    op.create_table(
        "audit_counts",
        sa.Column("day", sa.String(length=10), nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("name", sa.String(length=96), nullable=False),
        sa.Column("count", _BIG, nullable=False),
        sa.PrimaryKeyConstraint("day", "kind", "name", name=op.f("pk_audit_counts")),
    )
    op.create_table(
        "audit_archives",
        sa.Column("month", sa.String(length=7), nullable=False),
        sa.Column("events", _BIG, nullable=False),
        sa.Column("leaves", sa.Text(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("archived_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("dropped_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("month", name=op.f("pk_audit_archives")),
    )


def _key_studies(salt: str) -> None:
    connection = op.get_bind()
    for study_id, patient_id in connection.execute(sa.text("SELECT id, patient_id FROM studies")).all():
        if patient_id:
            key = hmac.new(bytes.fromhex(salt), patient_id.encode(), hashlib.sha256).hexdigest()[:_KEY_LENGTH]
            connection.execute(
                sa.text("UPDATE studies SET patient_key = :key WHERE id = :id"), {"key": key, "id": study_id}
            )


def _set_events_aside(*, postgresql: bool) -> None:
    """Rename the events of before: their table, and what has a name of its own in the schema."""
    op.rename_table("audit_events", "audit_events_before")
    op.drop_index("ix_audit_events_subject", "audit_events_before")
    op.drop_index("ix_audit_events_tag", "audit_events_before")
    if postgresql:
        op.execute("ALTER TABLE audit_events_before RENAME CONSTRAINT pk_audit_events TO pk_audit_events_before")
        return
    for verb in ("update", "delete"):
        op.execute(f"DROP TRIGGER audit_events_no_{verb}")  # it went along with the table


def _make_events(*, postgresql: bool) -> None:
    key = ("seq", "at") if postgresql else ("seq",)
    op.create_table(
        "audit_events",
        sa.Column("seq", _BIG, *([sa.Identity()] if postgresql else []), nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("tag", sa.String(length=48), nullable=False),
        sa.Column("subject", sa.String(length=160), nullable=False),
        sa.Column("actor", sa.String(length=96), nullable=False),
        sa.Column("outcome", sa.String(length=16), nullable=False),
        sa.Column("study", sa.String(length=64), nullable=True),
        sa.Column("series", sa.String(length=64), nullable=True),
        sa.Column("patient_key", sa.String(length=_KEY_LENGTH), nullable=True),
        sa.Column("route", sa.String(length=64), nullable=True),
        sa.Column("model", sa.String(length=64), nullable=True),
        sa.Column("weights", sa.String(length=64), nullable=True),
        sa.Column("details", sa.Text(), nullable=False),
        sa.Column("previous_hash", sa.String(length=64), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint(*key, name=op.f("pk_audit_events")),
        postgresql_partition_by="RANGE (at)",
    )
    op.create_index("ix_audit_events_at_seq", "audit_events", ["at", "seq"])
    for name in ("tag", "subject", "actor"):
        op.create_index(f"ix_audit_events_{name}_at_seq", "audit_events", [name, "at", "seq"])
    wheres = {name: sa.column(name).is_not(None) for name in _OPTIONAL} | {"outcome": sa.column("outcome") != "success"}
    for name, where in wheres.items():
        op.create_index(
            f"ix_audit_events_{name}_at_seq",
            "audit_events",
            [name, "at", "seq"],
            postgresql_where=where,
            sqlite_where=where,
        )
    if postgresql:
        _make_partitions()


def _make_partitions() -> None:
    """Make a partition for each month since the first event, two ahead, and one for whatever lies elsewhere."""
    op.execute(_MAKE_PARTITION)
    op.execute("CREATE TABLE audit_events_elsewhere PARTITION OF audit_events DEFAULT")
    op.execute(
        "CREATE TRIGGER audit_events_no_truncate BEFORE TRUNCATE ON audit_events_elsewhere "
        "FOR EACH STATEMENT EXECUTE FUNCTION audit_events_refuse()"
    )
    op.execute(
        "SELECT audit_make_partition(month::date) FROM generate_series("
        "  date_trunc('month', LEAST((SELECT min(at)::timestamptz FROM audit_events_before), now())), "
        f"  date_trunc('month', now()) + interval '{_MONTHS_AHEAD} months', interval '1 month') AS month"
    )


def _make_functions() -> None:
    """Make what the roles of the database act through, and let it act for them."""
    op.execute(_NOTE_ARCHIVE)
    op.execute(_ARCHIVE_MONTH)
    for function, takes_locks in _FUNCTIONS.items():
        op.execute(_SECURE.format(function=function))
        if takes_locks:
            op.execute(f"ALTER FUNCTION {function} SET lock_timeout = '500ms'")


def _carry_over(*, postgresql: bool) -> None:
    """Copy the chain as it is, with what events are found by taken from their subjects and details."""
    details = "(details::jsonb ->> '{}')" if postgresql else "json_extract(details, '$.{}')"
    job_of = "CASE WHEN subject LIKE 'job/%' THEN CAST(substr(subject, 5) AS INTEGER) END"
    study = (
        "COALESCE(CASE WHEN subject LIKE 'study/%' THEN substr(subject, 7) END, "
        f"{details.format('study')}, "
        f"(SELECT s.study_instance_uid FROM jobs j JOIN studies s ON s.id = j.study_id "
        f"WHERE j.id = COALESCE({job_of}, CAST({details.format('job')} AS INTEGER))), "
        "(SELECT s.study_instance_uid FROM result_objects o JOIN jobs j ON j.id = o.job_id "
        "JOIN studies s ON s.id = j.study_id WHERE 'instance/' || o.sop_instance_uid = subject LIMIT 1))"
    )
    series = (
        "(SELECT i.series_instance_uid FROM studies s JOIN instances i ON i.study_id = s.id "
        f"WHERE s.study_instance_uid = {details.format('study')} AND i.sop_instance_uid = substr(subject, 10) LIMIT 1)"
    )
    found_by = ", ".join(details.format(name) for name in ("route", "model", "weights"))
    columns = (
        "seq, at, tag, subject, actor, outcome, study, series, route, model, weights, details, previous_hash, hash"
    )
    overriding = "OVERRIDING SYSTEM VALUE" if postgresql else ""
    op.execute(
        sa.text(
            f"INSERT INTO audit_events ({columns}, patient_key) {overriding} "
            "SELECT e.*, s.patient_key FROM ("
            f"SELECT seq, at, tag, subject, actor, {_OUTCOME}, {study} AS study, {series}, {found_by}, "
            "details, previous_hash, hash FROM audit_events_before"
            ") e LEFT JOIN studies s ON s.study_instance_uid = e.study ORDER BY seq"
        )
    )
    op.drop_table("audit_events_before")
    if postgresql:
        op.execute(
            "SELECT setval(pg_get_serial_sequence('audit_events', 'seq'), "
            "COALESCE((SELECT max(seq) FROM audit_events), 1), EXISTS (SELECT FROM audit_events))"
        )


def _make_chain(*, postgresql: bool) -> None:
    """Make the table of revision 0001 again, beside the one of now."""
    op.drop_index("ix_audit_events_at_seq", "audit_events_now")
    for name in ("tag", "subject", "actor", *_OPTIONAL, "outcome"):
        op.drop_index(f"ix_audit_events_{name}_at_seq", "audit_events_now")
    op.create_table(
        "audit_events",
        sa.Column("seq", _BIG, autoincrement=False, nullable=False),
        sa.Column("at", sa.String(length=32), nullable=False),
        sa.Column("tag", sa.String(length=48), nullable=False),
        sa.Column("subject", sa.String(length=160), nullable=False),
        sa.Column("actor", sa.String(length=96), nullable=False),
        sa.Column("details", sa.Text(), nullable=False),
        sa.Column("previous_hash", sa.String(length=64), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_audit_events_chain" if postgresql else "pk_audit_events"),
    )
    op.create_index("ix_audit_events_subject", "audit_events", ["subject"])
    op.create_index("ix_audit_events_tag", "audit_events", ["tag"])


def _chain_all() -> None:
    """Link all events again: those of the chain have their hashes, the others follow in the order of their numbers."""
    connection = op.get_bind()
    rows = connection.execute(
        sa.text("SELECT seq, at, tag, subject, actor, details, previous_hash, hash FROM audit_events_now ORDER BY seq")
    ).all()
    previous, chained = "0" * 64, []
    for number, (_, *event, _, digest) in enumerate(rows, start=1):
        if not digest:
            fields = json.dumps((number, *event), ensure_ascii=False, separators=(",", ":"))
            digest = hashlib.sha256((previous + fields).encode()).hexdigest()  # noqa: PLW2901 - the hash that an event lacks
        chained.append((number, *event, previous, digest))
        previous = digest
    names = ("seq", "at", "tag", "subject", "actor", "details", "previous_hash", "hash")
    if chained:
        table = sa.table("audit_events", *map(sa.column, names))
        op.bulk_insert(table, [dict(zip(names, values, strict=True)) for values in chained])
    _guard_chain()


def _guard_chain() -> None:
    if op.get_bind().dialect.name == "sqlite":
        # The triggers of now stay with the renamed table, and go with it.
        for verb in ("UPDATE", "DELETE"):
            op.execute(f"DROP TRIGGER audit_events_no_{verb.lower()}")
            op.execute(
                f"CREATE TRIGGER audit_events_no_{verb.lower()} BEFORE {verb} ON audit_events "
                f"BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END"
            )
        return
    op.execute(
        "CREATE TRIGGER audit_events_no_change BEFORE UPDATE OR DELETE ON audit_events "
        "FOR EACH ROW EXECUTE FUNCTION audit_events_refuse()"
    )
    op.execute(
        "CREATE TRIGGER audit_events_no_truncate BEFORE TRUNCATE ON audit_events "
        "FOR EACH STATEMENT EXECUTE FUNCTION audit_events_refuse()"
    )
