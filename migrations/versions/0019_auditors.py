"""Logins that may only read the history put on record that they did.

Revision: 0019
"""

from __future__ import annotations

from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

# Who read, and when, is the database's word: session_user is the login that owns the connection.
_NOTE_READING = """
CREATE FUNCTION audit_note_reading(what text, study_uid text, told text) RETURNS void LANGUAGE plpgsql AS $body$
BEGIN
  IF what IS NULL OR what NOT IN ('audit:queried', 'audit:read') OR json_typeof(told::json) <> 'object' THEN
    RAISE EXCEPTION 'only readings of the history are noted so';
  END IF;
  INSERT INTO audit_events (at, tag, subject, actor, outcome, study, patient_key, details, previous_hash, hash)
  VALUES (to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US') || '+00:00',
          what, CASE WHEN study_uid IS NULL THEN 'audit/events' ELSE 'study/' || study_uid END, 'db:' || session_user,
          'success', study_uid, (SELECT patient_key FROM studies WHERE study_instance_uid = study_uid), told, '', '');
END $body$
"""
_SECURE = """
DO $do$ BEGIN
  EXECUTE format('ALTER FUNCTION audit_note_reading(text, text, text) SECURITY DEFINER SET search_path = %I, pg_temp',
                 current_schema());
  REVOKE ALL ON FUNCTION audit_note_reading(text, text, text) FROM PUBLIC;
END $do$
"""


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.get_bind().exec_driver_sql(_NOTE_READING)
        op.execute(_SECURE)


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION audit_note_reading(text, text, text)")
