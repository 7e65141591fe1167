"""`oncue db roles`, `oncue audit archive | check-archive` and the doctor, as a DBA and an auditor use them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from storage import audit
from storage.database import connect, utc_now
from storage.roles.rights import Role
from tests.support.commands import Ran, oncue
from tests.support.database_roles import DatabaseWithRoles, fresh_database, with_roles

pytestmark = [pytest.mark.peer, pytest.mark.slow]
NOW = utc_now()
LAST_MONTH = (NOW.replace(day=1) - timedelta(days=20)).replace(hour=12)
MONTH = f"{LAST_MONTH:%Y-%m}"


@dataclass(frozen=True, slots=True)
class Place:
    """A state folder whose database is on a PostgreSQL server with roles."""

    state: Path
    roles: DatabaseWithRoles
    environment: pytest.MonkeyPatch

    def ask(self, *words: object, role: Role | None = None) -> Ran:
        """Run a command as the owner, or as a member of a role."""
        url = self.roles.url_of(role) if role else self.roles.url
        self.environment.setenv("ONCUE_STORAGE_DATABASE_URL", url)
        return oncue(*words, "--state", self.state)


@pytest.fixture
def place(
    postgresql_server: str, postgresql_template: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Place]:
    with fresh_database(postgresql_server, postgresql_template) as url:
        _fill(url)
        with with_roles(url) as roles:
            yield Place(tmp_path, roles, monkeypatch)


def _fill(url: str) -> None:
    database = connect(url)
    with database.write() as session:
        session.execute(text("SELECT audit_make_partition(:month)"), {"month": LAST_MONTH.replace(day=1).date()})
        for number in range(40):
            at = LAST_MONTH if number < 30 else NOW
            audit.record(session, "study:opened", f"study/{number}", actor="reader", now=at)
    database.dispose()


def test_a_month_is_archived_by_its_role_and_proves_itself_to_a_stranger(place: Place, tmp_path: Path) -> None:
    assert place.ask("audit", "verify", role=Role.APP).code == 0  # makes the key, and seals
    key = place.ask("audit", "checkpoint", "--key", role=Role.APP).out.strip()
    folder = tmp_path / "archives"
    refused = place.ask("audit", "archive", "--month", MONTH, "--to", folder, role=Role.APP)
    assert refused.code == 1
    done = place.ask("audit", "archive", "--month", MONTH, "--to", folder, "--json", role=Role.RETENTION)
    assert done.code == 0, done.err
    (said,) = json.loads(done.out)
    assert (said["month"], said["events"], said["key"]) == (MONTH, 30, key)
    checked = oncue("audit", "check-archive", folder / MONTH, "--key", key)
    assert checked.code == 0
    assert f"{MONTH}: 30 events" in checked.out
    assert "its own key says so" in oncue("audit", "check-archive", folder / MONTH).out
    trusted = folder / MONTH / "checkpoint"
    assert oncue("audit", "check-archive", folder / MONTH, "--checkpoint", trusted).code == 0
    lines = (folder / MONTH / "archive.json").read_text()
    (folder / MONTH / "archive.json").write_text(lines.replace(MONTH, "2001-01"))
    wrong = oncue("audit", "check-archive", folder / MONTH)
    assert (wrong.code, "[archive_wrong]" in wrong.err) == (1, True)


def test_months_are_archived_by_age_and_only_when_one_is_named(place: Place, tmp_path: Path) -> None:
    none = place.ask("audit", "archive", "--to", tmp_path / "archives")
    assert "[configuration_error]" in none.err
    young = place.ask("audit", "archive", "--older-than", "1", "--to", tmp_path / "archives")
    assert (young.code, young.out.strip()) == (0, "no month is old enough")


def test_an_auditor_asks_and_proves_without_writing(place: Place) -> None:
    assert place.ask("audit", "verify", role=Role.APP).code == 0
    key = place.ask("audit", "checkpoint", "--key", role=Role.APP).out.strip()
    listed = place.ask("audit", "list", "--json", role=Role.AUDITOR)
    assert len(listed.json) == 40
    asked = place.ask("audit", "query", "--actor", "reader", "--limit", "1", role=Role.AUDITOR)
    assert (asked.code, asked.err) == (0, "")
    (own,) = place.ask("audit", "query", "--action", "audit:queried", "--oldest-first", "--limit", "1",
                       "--format", "json", role=Role.AUDITOR).json["events"]  # fmt: skip # reads by its lines
    assert own["actor"] == f"db:{Role.AUDITOR.named(place.roles.prefix)}_login"
    proved = place.ask("audit", "verify", "--key", key, role=Role.AUDITOR)
    assert proved.code == 0, proved.err
    assert place.ask("worklist", role=Role.AUDITOR).code == 1


def test_an_auditor_makes_no_key_for_a_log_that_is_new(place: Place) -> None:
    for words in (("verify",), ("checkpoint", "--key")):
        refused = place.ask("audit", *words, role=Role.AUDITOR)
        assert (refused.code, "[audit_key_invalid]" in refused.err) == (1, True)
    assert not (place.state / "audit").exists()


def test_roles_are_made_checked_and_printed(place: Place) -> None:
    assert "nothing else" in place.ask("db", "roles").out
    assert place.ask("db", "roles", "--check", "--json").json == {"prefix": place.roles.prefix, "differences": []}
    with place.roles.owner.write() as session:
        session.execute(text(f"GRANT DELETE ON audit_events TO {place.roles.prefix}_app"))
    found = place.ask("db", "roles", "--check")
    assert (found.code, "_app has DELETE on audit_events" in found.err) == (1, True)
    assert place.ask("db", "roles", "--create", "--prefix", place.roles.prefix).code == 0
    printed = place.ask("db", "roles", "--print", "--prefix", "site")
    assert "CREATE ROLE site_auditor NOLOGIN" in printed.out
    assert place.ask("db", "upgrade", role=Role.APP).code == 0  # nothing to do: it may start


def test_the_doctor_sees_guards_and_who_could_take_them_off(place: Place) -> None:
    fine = place.ask("doctor", "--only", "history", role=Role.APP)
    assert "own login cannot take them off" in fine.out
    assert "own login could take them off" in place.ask("doctor", "--only", "history").out
    with place.roles.owner.write() as session:
        session.execute(text("DROP TRIGGER audit_events_no_truncate ON audit_events_elsewhere"))
        session.execute(text("ALTER TABLE audit_leaves DISABLE TRIGGER USER"))
    broken = place.ask("doctor", "--only", "history", role=Role.APP)
    assert broken.code == 1
    assert "audit_events_no_truncate on audit_events_elsewhere is missing" in broken.out
    assert "audit_leaves_no_change on audit_leaves is disabled" in broken.out


def test_sqlite_says_why_it_has_neither_roles_nor_archives(tmp_path: Path) -> None:
    assert oncue("db", "upgrade", "--state", tmp_path).code == 0
    roles = oncue("db", "roles", "--state", tmp_path)
    assert (roles.code, "[database_roles_refused]" in roles.err) == (1, True)
    archive = oncue("audit", "archive", "--month", "2025-01", "--to", tmp_path / "out", "--state", tmp_path)
    assert (archive.code, "[archive_refused]: SQLite keeps all" in archive.err) == (1, True)
