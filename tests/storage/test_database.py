"""What becomes of the drivers' errors."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import func, select, text

from storage.database import Database, connect
from storage.errors import DatabaseDamaged, DatabaseUnavailable, SchemaMismatch, StatementRefused
from storage.models import StudyRow
from tests.support.mounts import read_only


def test_a_statement_with_too_many_variables_is_no_unavailable_database(database: Database) -> None:
    query = select(func.count()).select_from(StudyRow).where(StudyRow.id.in_(range(300_000)))
    with pytest.raises(StatementRefused, match="size or form") as refused, database.read() as session:
        session.scalar(query)
    assert not refused.value.retryable
    with database.read() as session:
        assert session.scalar(select(func.count()).select_from(StudyRow)) == 0


def test_a_statement_that_is_too_deep_is_no_unavailable_database(database: Database) -> None:
    deep = "SELECT " + " + ".join(["1"] * 50_000)
    with pytest.raises(StatementRefused), database.read() as session:
        session.execute(text(deep))


def test_a_table_that_is_not_there_is_a_matter_of_the_schema(database: Database) -> None:
    with pytest.raises(SchemaMismatch, match="db check"), database.read() as session:
        session.execute(text("SELECT * FROM nothing_of_that_name"))


def test_no_value_of_a_statement_stands_in_the_message(database: Database) -> None:
    names = ["DOE^JANE"] * 300_000
    with pytest.raises(StatementRefused) as refused, database.read() as session:
        session.execute(select(StudyRow.id).where(StudyRow.patient_id.in_(names)))
    assert "DOE" not in str(refused.value)


def test_a_server_that_is_not_there_is_unavailable() -> None:
    database = connect("postgresql+psycopg://nobody@127.0.0.1:9/nothing")
    with pytest.raises(DatabaseUnavailable) as missing, database.read() as session:
        session.scalar(select(func.count()).select_from(StudyRow))
    assert missing.value.retryable
    database.dispose()


@pytest.mark.parametrize("database_url", [pytest.param("postgresql", marks=pytest.mark.peer)], indirect=True)
def test_a_connection_that_the_server_ends_is_unavailable(database: Database) -> None:
    end = text("SELECT pg_terminate_backend(pg_backend_pid())")
    with pytest.raises(DatabaseUnavailable), database.read() as session:
        session.execute(end)


def test_a_folder_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    database = connect(f"sqlite:///{tmp_path / 'gone' / 'oncue.sqlite'}")
    with pytest.raises(DatabaseUnavailable), database.read() as session:
        session.scalar(text("SELECT 1"))
    database.dispose()


def test_a_file_that_was_read_only_when_it_was_opened_is_written_once_it_can_be(tmp_path: Path) -> None:
    def write(database: Database) -> None:
        with database.write() as session:
            session.execute(text("INSERT INTO notes VALUES (1)"))

    url = f"sqlite:///{tmp_path / 'oncue.sqlite'}"
    earlier, later = connect(url), connect(url)
    with earlier.write() as session:
        session.execute(text("CREATE TABLE notes (number INTEGER)"))
    with read_only(tmp_path), pytest.raises(DatabaseUnavailable):
        write(later)
    write(later)
    with earlier.read() as session:
        assert session.scalar(text("SELECT count(*) FROM notes")) == 1
    earlier.dispose()
    later.dispose()


def test_a_file_that_is_no_database_is_damaged_and_not_unavailable(tmp_path: Path) -> None:
    (tmp_path / "oncue.sqlite").write_bytes(b"no database" * 1000)
    database = connect(f"sqlite:///{tmp_path / 'oncue.sqlite'}")
    with pytest.raises(DatabaseDamaged, match="backup") as damaged, database.read() as session:
        session.scalar(text("SELECT 1"))
    assert not damaged.value.retryable
    database.dispose()


def test_a_page_that_was_overwritten_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "oncue.sqlite"
    database = connect(f"sqlite:///{path}")
    with database.write() as session:
        session.execute(text("CREATE TABLE notes (words TEXT)"))
        session.execute(text("INSERT INTO notes VALUES (:words)"), {"words": "x" * 200_000})
    database.dispose()
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
    with pytest.raises(DatabaseDamaged), database.read() as session:
        session.scalars(text("SELECT words FROM notes")).all()
    database.dispose()
