from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from storage import audit, migrate, revisions
from storage.database import Database, connect, utc_now
from storage.errors import ConfigurationError, DatabaseRolesRefused, OncueError, SchemaMismatch
from storage.history import auditors, readings, sealing
from storage.history.keys import load_or_make_key
from storage.history.question import Question
from storage.objects import ObjectStore
from storage.roles import login, script
from storage.roles.differences import differences
from storage.roles.rights import Role
from tests.support.database_roles import DatabaseWithRoles
from tests.support.records import analysed_study, deliver

pytestmark = pytest.mark.peer
NOW = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)

_CHANGES = (
    "UPDATE audit_events SET tag = 'x'",
    "DELETE FROM audit_events",
    "TRUNCATE audit_events",
    (
        "INSERT INTO audit_events (seq, at, tag, subject, actor, outcome, details, previous_hash, hash) "
        "VALUES (1, '2026-01-01', 'x', 'x', 'x', 'success', '{}', '', '')"
    ),
    "UPDATE audit_leaves SET seq = 7",
    "DELETE FROM audit_leaves",
    "TRUNCATE audit_leaves",
    "INSERT INTO audit_pending VALUES (99)",
    "UPDATE audit_log SET salt = 'x'",
    "DELETE FROM audit_log",
    "DELETE FROM audit_archives",
    "DROP TRIGGER audit_events_no_change ON audit_events",
    "DROP TRIGGER audit_events_pending ON audit_events",
    "ALTER TABLE audit_events DISABLE TRIGGER ALL",
    "ALTER TABLE audit_leaves DISABLE TRIGGER USER",
    "ALTER TABLE audit_events DETACH PARTITION audit_events_elsewhere",
    "SELECT * FROM audit_events_elsewhere",
    "INSERT INTO audit_events_elsewhere SELECT * FROM audit_events",
    "DELETE FROM audit_events_elsewhere",
    "TRUNCATE audit_events_elsewhere",
    "DROP TABLE audit_events",
    "DROP FUNCTION audit_events_refuse() CASCADE",
    "CREATE OR REPLACE FUNCTION audit_events_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$",
    "CREATE RULE quiet AS ON INSERT TO audit_events DO INSTEAD NOTHING",
    "CREATE TABLE mine (id integer)",
    "SET session_replication_role = replica",
    "SELECT setval(pg_get_serial_sequence('audit_events', 'seq'), 1)",
    "SELECT audit_archive_month('2025-01-01', 0, '', repeat('0', 64), 'x', true)",
    "SELECT audit_note_archive('audit:archived', '2025-01', 'x', '{}')",
    "SELECT audit_note_reading('study:read', NULL, '{}')",
    "UPDATE alembic_version SET version_num = 'x'",
)


def test_a_study_goes_its_whole_way_under_the_role_of_the_application(
    roles: DatabaseWithRoles, objects: ObjectStore, tmp_path_factory: pytest.TempPathFactory
) -> None:
    key = load_or_make_key(tmp_path_factory.mktemp("audit") / "key", "oncue")
    with roles.as_role(Role.APP) as app:
        analysed_study(app, objects)
        deliver(app)
        for second in range(2):
            with app.write() as session:
                audit.record(session, "study:opened", "study/1.2.3", actor="reader", now=NOW)
            with app.write() as session:
                sealed = sealing.seal(session, key, owner="gateway", now=NOW + timedelta(seconds=second))
        with app.read() as session:
            tags = {event.tag for event in audit.latest(session)}
        migrate.check(app)
    assert sealed is not None
    assert {"study:closed", "job:claimed", "job:succeeded", "study:opened"} <= tags


@pytest.mark.parametrize("role", [Role.APP, Role.AUDITOR, Role.RETENTION])
def test_the_database_refuses_every_change_of_the_history(roles: DatabaseWithRoles, role: Role) -> None:
    _record(roles.owner)
    allowed = []
    with roles.as_role(role) as database:
        for statement in _CHANGES:
            if role is Role.RETENTION and "audit_archive_month" in statement:
                continue  # it may call that, and is refused by what the function asks
            try:
                with database.write() as session:
                    session.execute(text(statement))
                allowed.append(statement)
            except (OncueError, DBAPIError):
                pass
    assert allowed == []
    with roles.owner.read() as session:
        assert audit.count(session) == 1


def test_an_auditor_reads_the_history_and_no_patient(roles: DatabaseWithRoles, objects: ObjectStore) -> None:
    analysed_study(roles.owner, objects)
    with roles.as_role(Role.AUDITOR) as database:
        with database.read() as session:
            assert audit.latest(session)
            key = session.scalar(text("SELECT patient_key FROM studies WHERE study_instance_uid <> ''"))
            assert session.scalar(text("SELECT count(*) FROM audit_events WHERE patient_key = :key"), {"key": key})
        for statement in ("SELECT patient_id FROM studies", "SELECT * FROM findings", "SELECT * FROM series"):
            with pytest.raises(OncueError, match="rights"), database.read() as session:
                session.execute(text(statement))


@pytest.mark.parametrize("role", [Role.AUDITOR, Role.RETENTION])
def test_whoever_may_only_read_the_history_notes_that_alone_and_under_its_own_name(
    roles: DatabaseWithRoles, objects: ObjectStore, role: Role
) -> None:
    recorded = analysed_study(roles.owner, objects)
    uid = recorded.study_instance_uid
    with roles.as_role(role) as database:
        with database.write() as session:
            readings.history_read(session, uid, readings.Reader("cli:somebody-else", NOW), what="timeline")
        with database.write() as session:
            readings.history_asked(session, Question(study=uid), readings.Reader("cli:somebody-else", NOW))
        for forged in ("study:read", "audit:archived", None):
            with pytest.raises((OncueError, DBAPIError)), database.write() as session:
                auditors.note_reading(session, forged, uid, "{}")  # type: ignore[arg-type] # None is what SQL lets pass
        with pytest.raises((OncueError, DBAPIError)), database.write() as session:
            auditors.note_reading(session, "audit:read", uid, "no details")
    with roles.owner.read() as session:
        asked, read, *_ = audit.latest(session)
        key = session.scalar(text("SELECT patient_key FROM studies WHERE study_instance_uid = :uid"), {"uid": uid})
    login = f"db:{role.named(roles.prefix)}_login"
    assert [(one.tag, one.actor, one.study, one.patient_key, one.subject) for one in (read, asked)] == [
        ("audit:read", login, uid, key, f"study/{uid}"),
        ("audit:queried", login, uid, key, f"study/{uid}"),
    ]
    assert (read.details, asked.details) == ('{"what":"timeline"}', f'{{"filters":"study={uid}"}}')
    assert read.at[:10] == f"{utc_now():%Y-%m-%d}"


def test_the_migrating_role_upgrades_and_new_tables_are_granted(roles: DatabaseWithRoles) -> None:
    with roles.as_role(Role.MIGRATE) as database:
        with database.write() as session:
            session.execute(text(f"SET ROLE {Role.MIGRATE.named(roles.prefix)}"))
            session.execute(text(f"REVOKE ALL ON jobs FROM {Role.APP.named(roles.prefix)}"))
        migrate.upgrade(database)
        script.grant_anew(database)
        with database.read() as session:
            assert differences(session, roles.prefix) == ()


def test_what_a_login_of_the_migrating_role_makes_belongs_to_the_group(roles: DatabaseWithRoles) -> None:
    group = Role.MIGRATE.named(roles.prefix)
    with roles.owner.write() as session:
        session.execute(text(f"ALTER ROLE {group}_login SET role = '{group}'"))
    with roles.as_role(Role.MIGRATE) as database:
        migrate.downgrade(database, "0007")
        migrate.upgrade(database)
        script.grant_anew(database)
        with database.read() as session:
            assert differences(session, roles.prefix) == ()


def test_a_role_that_may_not_change_the_schema_says_who_may(roles: DatabaseWithRoles) -> None:
    with roles.as_role(Role.APP) as app:
        assert migrate.upgrade(app) == revisions.expected_revision()
    migrate.downgrade(roles.owner, "0007")
    with roles.as_role(Role.APP) as app, pytest.raises(SchemaMismatch, match="role for migration"):
        migrate.upgrade(app)


def test_each_login_knows_what_it_may(roles: DatabaseWithRoles) -> None:
    said = {}
    for role in Role:
        with roles.as_role(role) as database, database.read() as session:
            said[role] = (not auditors.may_only_read(session), login.may_undo_guards(session))
    assert said == {
        Role.MIGRATE: (True, True),
        Role.APP: (True, False),
        Role.AUDITOR: (False, False),
        Role.RETENTION: (False, False),
    }


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("GRANT DELETE ON audit_events TO {}_app", "_app has DELETE on audit_events"),
        ("GRANT UPDATE (salt) ON audit_log TO {}_app", "_app has UPDATE on audit_log (salt)"),
        ("GRANT SELECT ON studies TO {}_auditor", "_auditor has SELECT on studies"),
        ("REVOKE INSERT ON jobs FROM {}_app", "_app lacks INSERT on jobs"),
        ("GRANT SELECT ON audit_events_elsewhere TO PUBLIC", "everybody has SELECT on audit_events_elsewhere"),
        ("GRANT SELECT ON audit_events_elsewhere TO {}_app", "_app has SELECT on audit_events_elsewhere"),
        ("ALTER ROLE {}_app CREATEROLE", "_app is a superuser, or may make roles"),
        ("GRANT {}_migrate TO {}_app", "_app is a member of"),
        ("ALTER TABLE jobs OWNER TO CURRENT_USER", "jobs belongs to"),
        ("GRANT EXECUTE ON FUNCTION audit_note_archive(text, text, text, text) TO PUBLIC", "everybody has EXECUTE"),
    ],
)
def test_what_differs_from_the_grants_is_named(roles: DatabaseWithRoles, statement: str, named: str) -> None:
    with roles.owner.write() as session:
        session.execute(text(statement.replace("{}", roles.prefix)))
    with roles.owner.read() as session:
        found = differences(session, roles.prefix)
    assert any(named in one for one in found), found


def test_making_the_roles_twice_changes_nothing(roles: DatabaseWithRoles) -> None:
    script.create(roles.owner, roles.prefix)
    with roles.owner.read() as session:
        assert differences(session, roles.prefix) == ()
        assert script.prefix_of(session) == roles.prefix


def test_the_printed_script_does_the_same(postgresql_url: str) -> None:
    database = connect(postgresql_url)
    prefix = "printed_by_oncue"
    whole = ";\n".join(script.script(prefix)) + ";"
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(whole.replace("%", "%%"))
    with database.read() as session:
        assert differences(session, prefix) == ()
    _remove(database, prefix)


def test_a_prefix_that_would_have_to_be_quoted_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="prefix"):
        script.script("On cue")


def test_sqlite_has_no_roles(sqlite_database: Database) -> None:
    with pytest.raises(DatabaseRolesRefused, match="PostgreSQL"):
        script.create(sqlite_database)


def _record(database: Database) -> None:
    with database.write() as session:
        audit.record(session, "study:opened", "study/1.2.3", actor="reader", now=NOW)


def _remove(database: Database, prefix: str) -> None:
    names = ", ".join(role.named(prefix) for role in Role)
    with database.write() as session:
        for statement in ("REASSIGN OWNED BY {} TO CURRENT_USER", "DROP OWNED BY {}", "DROP ROLE {}"):
            session.execute(text(statement.format(names)))
    database.dispose()
