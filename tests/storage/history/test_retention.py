from __future__ import annotations

import gzip
import hashlib
import json
import random
import shutil
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, table, text
from sqlalchemy.exc import DBAPIError

from storage import audit
from storage.database import Database, connect, utc_now
from storage.errors import DatabaseUnavailable, OncueError
from storage.history import archive, guards, partitions, retention
from storage.history.errors import ArchiveRefused, ArchiveWrong
from storage.history.retention import Retention
from storage.history.verification import verify
from storage.roles.rights import Role
from tests.support.database_roles import with_roles
from tests.support.guards import take_off_guards
from tests.support.proving import KEY, problems, seal

pytestmark = pytest.mark.slow
NOW = utc_now()
LAST_MONTH = (NOW.replace(day=1) - timedelta(days=20)).replace(hour=12)
MONTH = f"{LAST_MONTH:%Y-%m}"


@pytest.fixture
def database(postgresql_url: str) -> Iterator[Database]:
    """Return a database with events of last month and of this one, sealed; at the turn they are mixed."""
    database = connect(postgresql_url)
    with database.write() as session:
        session.execute(text("SELECT audit_make_partition(:month)"), {"month": LAST_MONTH.replace(day=1).date()})
    _record(database, [LAST_MONTH] * 300 + [NOW, LAST_MONTH, NOW, LAST_MONTH] + [NOW] * 50)
    yield database
    database.dispose()


@pytest.fixture
def asked(tmp_path: Path) -> Retention:
    return Retention(KEY.verifier, tmp_path / "archives", "cli:test")


def _record(database: Database, times: list[datetime]) -> None:
    with database.write() as session:
        for number, at in enumerate(times):
            audit.record(session, "study:opened", f"study/{number}", actor="Jane Ñ", now=at)
    seal(database)


def _count(database: Database) -> int:
    with database.read() as session:
        return audit.count(session)


@pytest.mark.peer
def test_a_month_leaves_the_database_as_a_whole_with_what_proves_it(database: Database, asked: Retention) -> None:
    done = retention.archive_month(database, MONTH, asked)
    assert (done.month, done.events, done.size) == (MONTH, 302, 354)
    assert done.sha256 == hashlib.sha256((asked.folder / MONTH / "events.jsonl.gz").read_bytes()).hexdigest()
    with database.read() as session:
        (month,) = retention.archived(session)
        (event,) = audit.history(session, tag="audit:archived")
        assert guards.missing(session) == ()
        part = table(partitions.partition(LAST_MONTH.date()))
        assert session.scalar(select(func.count()).select_from(part)) == 302
    assert _count(database) == 52 + 1
    assert (month.month, month.events, month.sha256, month.dropped) == (MONTH, 302, done.sha256, False)
    assert month.leaves == ((0, 299), (301, 301), (303, 303))
    said = json.loads(event.details)
    assert (said["month"], said["events"], said["sha256"], event.actor) == (MONTH, 302, done.sha256, "cli:test")
    assert event.details == json.dumps(said, sort_keys=True, separators=(",", ":"))


@pytest.mark.peer
def test_what_stays_is_still_proved_and_so_are_the_hashes_of_what_left(database: Database, asked: Retention) -> None:
    retention.archive_month(database, MONTH, asked)
    seal(database)
    with database.snapshot() as session:
        found = verify(session, KEY.verifier)
    assert (found.problems, found.proved, found.archived, found.size) == ((), 53, 302, 355)
    take_off_guards(database)
    with database.write() as session:
        session.execute(text("DELETE FROM audit_events WHERE seq = 320"))
    assert problems(database)[0] == "event 320 (leaf 319) is missing"


@pytest.mark.peer
def test_an_event_that_is_gone_cannot_be_called_archived(database: Database) -> None:
    take_off_guards(database)
    with database.write() as session:
        session.execute(text("DELETE FROM audit_events WHERE seq = 7"))
        session.execute(
            text(
                "INSERT INTO audit_archives (month, events, leaves, sha256, archived_at) "
                "VALUES ('2020-01', 1, '6-6', :sha256, now())"
            ),
            {"sha256": "0" * 64},
        )
    assert any("2020-01 is called archived" in problem for problem in problems(database))


@pytest.mark.peer
def test_what_was_detached_still_refuses_changes_and_goes_only_when_asked(database: Database, asked: Retention) -> None:
    retention.archive_month(database, MONTH, asked)
    part = partitions.partition(LAST_MONTH.date())
    for statement in ("DELETE FROM {}", "UPDATE {} SET tag = 'x'", "TRUNCATE {}"):
        with pytest.raises((OncueError, DBAPIError)), database.write() as session:
            session.execute(text(statement.format(part)))
    retention.archive_month(database, MONTH, Retention(asked.key, asked.folder, asked.actor, drop=True))
    with database.read() as session:
        assert session.scalar(text("SELECT to_regclass(:part)"), {"part": part}) is None
        assert retention.archived(session)[0].dropped
        assert len(audit.history(session, tag="audit:dropped")) == 1


@pytest.mark.peer
def test_another_archive_does_not_have_a_month_dropped(database: Database, asked: Retention, tmp_path: Path) -> None:
    retention.archive_month(database, MONTH, asked)
    elsewhere = Retention(asked.key, tmp_path / "elsewhere", asked.actor, drop=True)
    with pytest.raises(ArchiveWrong, match="missing"):
        retention.archive_month(database, MONTH, elsewhere)
    with pytest.raises(ArchiveRefused, match="another archive"), database.write() as session, retention._said_plainly():
        session.execute(
            text("SELECT audit_archive_month(:month, 302, '', :sha256, 'x', true)"),
            {"month": LAST_MONTH.date(), "sha256": "0" * 64},
        )


@pytest.mark.peer
@pytest.mark.parametrize("month", [f"{NOW:%Y-%m}", "1999-01", "2025-13", "last"])
def test_what_is_not_over_or_not_there_is_refused(database: Database, asked: Retention, month: str) -> None:
    with pytest.raises(ArchiveRefused):
        retention.archive_month(database, month, asked)
    assert _count(database) == 354


@pytest.mark.peer
def test_a_month_with_events_that_are_not_sealed_is_refused(database: Database, asked: Retention) -> None:
    with database.write() as session:
        audit.record(session, "study:opened", "study/1", actor="late", now=LAST_MONTH)
    with pytest.raises(ArchiveRefused, match="not sealed"):
        retention.archive_month(database, MONTH, asked)


@pytest.mark.peer
def test_a_month_that_was_tampered_with_is_not_let_go(database: Database, asked: Retention) -> None:
    take_off_guards(database)
    with database.write() as session:
        session.execute(text("UPDATE audit_events SET actor = 'nobody' WHERE seq = 7"))
    with pytest.raises(ArchiveWrong, match="do not lead to the checkpoint"):
        retention.archive_month(database, MONTH, asked)
    assert _count(database) == 354


@pytest.mark.peer
def test_the_role_for_retention_archives_and_drops_and_the_others_do_not(
    postgresql_url: str, database: Database, asked: Retention
) -> None:
    asked = Retention(asked.key, asked.folder, asked.actor, drop=True)
    with with_roles(postgresql_url) as roles:
        for role in (Role.APP, Role.AUDITOR):
            with roles.as_role(role) as other, pytest.raises(OncueError, match="rights"):
                retention.archive_month(other, MONTH, asked)
            shutil.rmtree(asked.folder)
        with roles.as_role(Role.RETENTION) as other:
            retention.archive_month(other, MONTH, asked)
        with roles.as_role(Role.APP) as app, app.read() as session:
            assert retention.archived(session)[0].dropped
    assert _count(database) == 52 + 2


@pytest.mark.peer
def test_whoever_writes_goes_on_while_a_month_waits_for_readers(database: Database, asked: Retention) -> None:
    with database.read() as reader:
        reader.execute(text("SELECT count(*) FROM audit_events"))
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(retention, "_ATTEMPTS", 1)
            with pytest.raises(DatabaseUnavailable):
                retention.archive_month(database, MONTH, asked)
        with database.write() as session:
            audit.record(session, "study:opened", "study/1", actor="test", now=NOW)
    assert _count(database) == 355
    # What was written is there, and the next attempt ends what this one began.
    assert retention.archive_month(database, MONTH, asked).events == 302


@pytest.mark.peer
def test_months_that_are_old_enough_are_found(database: Database) -> None:
    later = NOW + timedelta(days=70)
    with database.read() as session:
        assert retention.older_than(session, keep_months=1, now=later)[0] == MONTH
        assert retention.older_than(session, keep_months=1, now=NOW) == ()


def test_sqlite_keeps_all(sqlite_database: Database, asked: Retention) -> None:
    with pytest.raises(ArchiveRefused, match="SQLite keeps all"):
        retention.archive_month(sqlite_database, "2025-01", asked)


def _is_refused(folder: Path) -> bool:
    try:
        archive.check(folder)
    except ArchiveWrong:
        return True
    return False


def _events_changed(change: Callable[[list[dict[str, Any]]], object]) -> Callable[[Path], None]:
    def changed(folder: Path) -> None:
        file = folder / "events.jsonl.gz"
        lines = [json.loads(line) for line in gzip.decompress(file.read_bytes()).splitlines()]
        change(lines)
        text_form = "".join(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n" for line in lines)
        file.write_bytes(gzip.compress(text_form.encode()))
        _said_changed(lambda said: said.update(sha256=hashlib.sha256(file.read_bytes()).hexdigest()))(folder)

    return changed


def _said_changed(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def changed(folder: Path) -> None:
        said = json.loads((folder / "archive.json").read_text())
        change(said)
        (folder / "archive.json").write_text(json.dumps(said))

    return changed


_FORGERIES: dict[str, Callable[[Path], object]] = {
    "an event changed": _events_changed(lambda lines: lines[4]["event"].__setitem__(4, "nobody")),
    "an event left out": _events_changed(lambda lines: lines.pop(3)),
    "the last left out": _events_changed(lambda lines: lines.pop()),
    "two exchanged": _events_changed(lambda lines: lines.insert(0, lines.pop(1))),
    "an event twice": _events_changed(lambda lines: lines.insert(1, lines[0])),
    "a leaf renumbered": _events_changed(lambda lines: lines[-1].update(leaf=353)),
    "no event": _events_changed(lambda lines: lines.clear()),
    "bytes changed": lambda folder: (folder / "events.jsonl.gz").write_bytes(b"\x1f\x8b"),
    "another month": _said_changed(lambda said: said.update(month="2024-02")),
    "hash taken away": _said_changed(lambda said: said["hashes"].pop()),
    "no hash": _said_changed(lambda said: said.update(hashes=["x"])),
    "no form": _said_changed(lambda said: said.pop("form")),
    "no proof": lambda folder: (folder / "archive.json").unlink(),
    "no checkpoint": lambda folder: (folder / "checkpoint").unlink(),
    "checkpoint changed": lambda folder: (folder / "checkpoint").write_text(
        (folder / "checkpoint").read_text().replace("354", "355")
    ),
}


@pytest.mark.peer
def test_every_change_of_an_archive_is_found(database: Database, asked: Retention, tmp_path: Path) -> None:
    retention.archive_month(database, MONTH, asked)
    whole = asked.folder / MONTH
    assert archive.check(whole).events == 302
    for number, (name, forge) in enumerate(_FORGERIES.items()):
        copy = tmp_path / f"copy-{number}"
        shutil.copytree(whole, copy)
        forge(copy)
        assert _is_refused(copy), name


@pytest.mark.peer
def test_any_byte_of_an_archive_is_proved(database: Database, asked: Retention, tmp_path: Path) -> None:
    retention.archive_month(database, MONTH, asked)
    drawn = random.Random(7)  # noqa: S311 # places, no secrets
    for name in ("events.jsonl.gz", "checkpoint"):
        content = (asked.folder / MONTH / name).read_bytes()
        for number in range(20):
            copy = tmp_path / f"{name}-{number}"
            shutil.copytree(asked.folder / MONTH, copy)
            changed = bytearray(content)
            changed[drawn.randrange(len(content))] ^= 1 << drawn.randrange(8)
            (copy / name).write_bytes(changed)
            with pytest.raises(ArchiveWrong):
                archive.check(copy, key=KEY.verifier)
