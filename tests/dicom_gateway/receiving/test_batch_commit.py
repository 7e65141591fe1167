from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import event, text

from dicom_gateway.receiving.batch_commit import BatchCommit, Received
from storage import studies
from storage.database import Database, utc_now
from storage.domain import StoredInstance
from storage.errors import StorageError
from storage.studies import Origin, Registration, StudyFacts
from tests.support.gateways import until


def _received(number: int) -> Received:
    digest = f"{number:064d}"
    instance = StoredInstance("1.2", "1.2.3", f"1.2.3.{number}", "1.2.8", "1.2.8", "CT", digest, digest, 10)
    return Received(instance, StudyFacts(), Origin("CT", None))


def test_those_who_wait_are_committed_together(sqlite_database: Database) -> None:
    batches = BatchCommit(sqlite_database, utc_now)
    commits: list[object] = []
    event.listen(sqlite_database.engine, "commit", commits.append)
    with ThreadPoolExecutor(8) as pool:
        with batches._turn:  # somebody's commit goes on and on, so that eight callers gather behind it
            waiting = [pool.submit(batches.register, _received(number)) for number in range(8)]
            until(lambda: len(batches._waiting) == 8, "eight callers behind the first")
        assert [future.result(30) for future in waiting] == [Registration.NEW] * 8
    assert len(commits) == 1
    with sqlite_database.read() as session:
        assert len(studies.instances_of(session, 1)) == 8


def test_a_failed_commit_reaches_its_caller_and_the_next_one_succeeds(database: Database) -> None:
    batches = BatchCommit(database, utc_now)
    with database.write() as session:
        session.execute(text("ALTER TABLE instances RENAME TO away"))
    with pytest.raises(StorageError):
        batches.register(_received(1))
    with database.write() as session:
        session.execute(text("ALTER TABLE away RENAME TO instances"))
    assert batches.register(_received(1)) is Registration.NEW
