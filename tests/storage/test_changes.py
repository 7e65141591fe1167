from __future__ import annotations

import threading
import time
from pathlib import Path

from storage import processes
from storage.changes import Changes, announce
from storage.database import Database, connect, utc_now

_NEVER = 3600.0


def _commit(database: Database, name: str) -> None:
    with database.write() as session:
        processes.start(session, name, "test", now=utc_now())


def test_a_commit_of_another_process_ends_the_wait(sqlite_database: Database) -> None:
    other = connect(str(sqlite_database.engine.url))
    changes = Changes(sqlite_database, poll_seconds=_NEVER)
    stop = threading.Event()
    assert changes.wait(stop, 0)
    assert not changes.wait(stop, 0)
    seen = threading.Event()

    def wait() -> None:
        if changes.wait(stop, _NEVER):
            seen.set()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    _commit(other, "one")
    assert seen.wait(20)
    thread.join()
    changes.close()
    other.dispose()


def test_a_commit_between_two_waits_is_seen_by_the_second(sqlite_database: Database) -> None:
    changes = Changes(sqlite_database, poll_seconds=_NEVER)
    assert changes.wait(threading.Event(), 0)
    _commit(sqlite_database, "one")
    assert changes.wait(threading.Event(), 0)
    assert not changes.wait(threading.Event(), 0)
    changes.close()


def test_an_announcement_of_another_process_ends_the_wait_once_it_is_committed(database: Database) -> None:
    other = connect(database.engine.url.render_as_string(hide_password=False))
    changes = Changes(database, poll_seconds=_NEVER)
    stop = threading.Event()
    assert changes.wait(stop, 1)
    assert not changes.wait(stop, 0)
    with other.write() as session:
        processes.start(session, "one", "test", now=utc_now())
        announce(session)
        assert not changes.wait(stop, 0.2)
    assert changes.wait(stop, 20)
    assert not changes.wait(stop, 0)
    changes.close()
    other.dispose()


def test_stopping_ends_the_wait(database: Database) -> None:
    changes = Changes(database, poll_seconds=_NEVER)
    stop = threading.Event()
    threading.Timer(0.05, stop.set).start()
    started = time.monotonic()
    while changes.wait(stop, _NEVER):
        pass
    assert time.monotonic() - started < 20
    changes.close()


def test_a_database_that_counts_nothing_or_is_down_counts_as_changed_after_each_poll(
    tmp_path: Path,
) -> None:
    urls = (f"sqlite:///{tmp_path / 'missing' / 'oncue.sqlite'}", "postgresql+psycopg://nobody@127.0.0.1:1/nothing")
    for database in map(connect, urls):
        changes = Changes(database, poll_seconds=0.01)
        assert changes.wait(threading.Event(), _NEVER)
        assert changes.wait(threading.Event(), _NEVER)
        changes.close()
        database.dispose()
