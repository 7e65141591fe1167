from __future__ import annotations

import multiprocessing
import uuid
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.exc import DatabaseError

from storage import analyses, associations, job_lists, jobs, migrate, reports, revisions, worklist
from storage.database import Database, connect
from storage.domain import Priority
from storage.errors import DatabaseUnavailable, SchemaMismatch
from storage.models import Model
from storage.objects import ObjectStore
from storage.states import JobState, StudyState
from tests.support.records import analysed_study, closed_study, result, with_organs
from tests.support.routing import close_as_head, quiet_studies
from tests.support.upgrading import upgrade

BEFORE_ROUTES = Path(__file__).parents[1] / "support" / "before-routes.sql"
"""A study with a result whose report is due, and a late image that an open association is still sending."""

BEFORE_MODELS = Path(__file__).parents[1] / "support" / "before-models.sql"
"""A study with a result of two findings whose report is due, and a job of another route that waits."""


def test_a_migrated_database_is_what_the_models_say(database: Database) -> None:
    migrate.check(database)
    assert revisions.current_revision(database) == revisions.expected_revision()


def test_the_revision_that_is_expected_is_the_head_that_the_migrating_tool_sees() -> None:
    script = ScriptDirectory(str(revisions.migrations_folder()))
    assert script.get_heads() == [revisions.expected_revision()]


def test_upgrading_twice_changes_nothing(database: Database) -> None:
    assert migrate.upgrade(database) == revisions.expected_revision()
    migrate.check(database)


def test_down_and_up_again_ends_at_the_same_schema(database: Database) -> None:
    migrate.downgrade(database)
    assert set(inspect(database.engine).get_table_names()) <= {"alembic_version"}
    with pytest.raises(SchemaMismatch, match="db upgrade"):
        migrate.check(database)
    migrate.upgrade(database)
    migrate.check(database)
    assert set(Model.metadata.tables) <= set(inspect(database.engine).get_table_names())


def test_an_upgrade_that_fails_half_way_leaves_the_database_as_it_was(database_url: str) -> None:
    database = connect(database_url)
    migrate.downgrade(database, "0001")
    with database.write() as session:
        session.execute(text("CREATE TABLE series (id INTEGER)"))  # a later migration makes one of that name
    before = set(inspect(database.engine).get_table_names())
    with pytest.raises(DatabaseError, match="series"):
        migrate.upgrade(database)
    assert set(inspect(database.engine).get_table_names()) == before
    assert revisions.current_revision(database) == "0001"
    with database.write() as session:
        session.execute(text("DROP TABLE series"))
    migrate.upgrade(database)
    migrate.check(database)
    database.dispose()


def test_a_table_changed_by_hand_is_noticed(database: Database) -> None:
    with database.write() as session:
        session.execute(text("ALTER TABLE studies ADD COLUMN note TEXT"))
    with pytest.raises(SchemaMismatch, match="differs"):
        migrate.check(database)


@pytest.mark.slow
def test_records_of_before_routes_are_carried_over_and_can_be_followed(database_url: str) -> None:
    database = connect(database_url)
    migrate.downgrade(database, "0005")
    _execute(database, BEFORE_ROUTES)
    migrate.upgrade(database)
    migrate.check(database)
    with database.read() as session:
        (entry,) = worklist.studies(session)
        (job,) = job_lists.listed(session)
        (pending,) = reports.due(session, now=datetime(2026, 3, 2, tzinfo=UTC))
        assert quiet_studies(session, quiet_seconds=10, now=datetime(2026, 3, 1, 12, 0, 50, tzinfo=UTC)) == ()
    assert (entry.state, entry.finding, entry.volume_ml) == (StudyState.RECEIVING, "Lesion", 2.5)
    assert [(one.route, one.priority) for one in entry.analyses] == [("head-mr", Priority.HIGH)]
    assert (job.route, job.wanted, job.state) == ("head-mr", (), JobState.SUCCEEDED)
    assert pending.job_id == job.id
    # The next revision is routed, and its job follows the one of before.
    with database.write() as session:
        associations.closed(session, "a1", how="released", now=datetime(2026, 3, 1, 12, 2, tzinfo=UTC))
        follower = close_as_head(session, 1, quiet_seconds=10, now=datetime(2026, 3, 1, 13, tzinfo=UTC))
    assert follower is not None
    migrate.downgrade(database)
    database.dispose()


@pytest.mark.slow
def test_results_of_before_models_are_carried_over_and_take_organs_from_then_on(
    database_url: str, objects: ObjectStore
) -> None:
    database, now = connect(database_url), datetime(2026, 3, 2, tzinfo=UTC)
    migrate.downgrade(database, "0006")
    _execute(database, BEFORE_MODELS)
    migrate.upgrade(database)
    migrate.check(database)
    with database.read() as session:
        (entry,) = worklist.studies(session)
        findings = analyses.findings_of(session, 101)
        assert analyses.structures_of(session, 101) == ()
        (pending,) = reports.due(session, now=now)
        (read_next,) = worklist.worklist(session, limit=1)
        assert worklist.waiting(session) == worklist.not_applicable(session) == ()
    assert (read_next.id, read_next.cursor) == (entry.id, f"1~{entry.confidence}~2026-03-01T12:00:00.000000Z~1")
    assert (entry.finding, entry.priority, pending.job_id) == ("Lesion", Priority.HIGH, 101)
    assert [(one.number, one.volume_ml, one.area_mm2, one.site) for one in findings] == [
        (1, 2.5, 0.0, None),
        (2, 0.0, 88.0, None),
    ]
    # The job that waited is taken up, and its result has organs.
    analysis = with_organs(result(objects))
    with database.write() as session:
        held = jobs.claim(session, 102, owner="worker-1", lease_seconds=60, now=now)
        assert held is not None
        analyses.save(session, held, analysis, grid_digest="g", now=now)
    with database.read() as session:
        assert analyses.structures_of(session, 102) == analysis.structures
        assert analyses.findings_of(session, 102) == analysis.findings
    migrate.downgrade(database, "0006")
    migrate.upgrade(database)
    with database.read() as session:
        assert analyses.findings_of(session, 101) == findings
    database.dispose()


@pytest.mark.peer
def test_a_postgresql_database_without_an_encoding_is_used_in_utf_8(postgresql_server: str) -> None:
    name = f"plain_{uuid.uuid4().hex}"
    server = create_engine(postgresql_server, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        ways = "ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
        connection.execute(text(f'CREATE DATABASE "{name}" {ways}'))
    database = connect(str(server.url.set(database=name).render_as_string(hide_password=False)))
    assert migrate.upgrade(database) == revisions.expected_revision()
    with database.read() as session:
        assert session.scalar(text("SELECT 'Größe'")) == "Größe"
    database.dispose()
    with server.connect() as connection:
        connection.execute(text(f'DROP DATABASE "{name}" WITH (FORCE)'))
    server.dispose()


@pytest.mark.slow
def test_two_processes_may_upgrade_at_once(database_url: str) -> None:
    database = connect(database_url)
    migrate.downgrade(database)
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=upgrade, args=(database_url,)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    migrate.check(database)
    database.dispose()


def test_a_new_sqlite_file_is_made_where_there_is_none(tmp_path: Path) -> None:
    database = connect(f"sqlite:///{tmp_path / 'new.sqlite'}")
    assert revisions.current_revision(database) is None
    migrate.upgrade(database)
    migrate.check(database)
    database.dispose()


def _execute(database: Database, script: Path) -> None:
    with database.write() as session:
        for statement in script.read_text().split(";\n"):
            if statement.strip():
                session.execute(text(statement))


def test_files_of_earlier_analyses_are_named_for_retention(database: Database, objects: ObjectStore) -> None:
    analysed_study(database, objects, 1)
    closed_study(database, 2, body_part="KNEE")
    files = "SELECT job_id, digest, kind FROM analysis_files ORDER BY digest"
    kept = "SELECT study_id, image_bytes, keeps_images, keeps_results, keeps_pictures FROM standings ORDER BY study_id"
    with database.read() as session:
        before = [session.execute(text(query)).all() for query in (files, kept)]
    assert len(before[0]) == 4
    assert [bool(row.keeps_pictures) for row in before[1]] == [True, False]
    database.dispose()
    migrate.downgrade(database, "0015")
    migrate.upgrade(database)
    migrate.check(database)
    with database.read() as session:
        assert [session.execute(text(query)).all() for query in (files, kept)] == before


def test_a_database_that_is_not_there_is_said_so_whatever_is_asked_of_its_schema() -> None:
    nobody = connect("postgresql+psycopg://nobody@127.0.0.1:1/nothing")
    for ask in (revisions.current_revision, migrate.upgrade, migrate.check):
        with pytest.raises(DatabaseUnavailable):
            ask(nobody)
