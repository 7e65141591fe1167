"""Studies as they arrive, on both databases."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from storage import associations, audit, jobs, processes, studies
from storage.database import Database
from storage.domain import JobState, StoredInstance
from storage.errors import RecordMissing
from storage.studies import Registration

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
MR = "1.2.840.10008.5.1.4.1.1.4"


def _instance(number: int = 1, *, content: str = "b") -> StoredInstance:
    digest = content * 64
    return StoredInstance("1.2.3", "1.2.4", f"1.2.5.{number}", MR, "1.2.840.10008.1.2.1", "MR", digest, digest, 10)


def _register(
    database: Database, instance: StoredInstance, *, now: datetime = NOW, association_id: str | None = None
) -> Registration:
    origin = studies.Origin("SENDER", association_id)
    with database.write() as session:
        return studies.register_instance(session, instance, studies.StudyFacts("P1"), origin=origin, now=now)


def _close(database: Database, *, now: datetime, quiet_seconds: float = 10) -> int | None:
    with database.write() as session:
        found = studies.quiet(session, quiet_seconds=quiet_seconds, now=now)
        return studies.close(session, found[0], quiet_seconds=quiet_seconds, now=now) if found else None


def _tags(database: Database) -> list[str]:
    with database.read() as session:
        return [event.tag for event in audit.history(session)]


def test_the_same_instance_sent_twice_is_registered_once(database: Database) -> None:
    assert _register(database, _instance()) is Registration.NEW
    assert _register(database, _instance(), now=NOW + timedelta(hours=1)) is Registration.DUPLICATE
    with database.read() as session:
        assert len(studies.instances_of(session, 1)) == 1
    assert _tags(database) == ["study:opened", "instance:stored"]


def test_changed_content_under_the_same_uid_replaces_but_keeps_the_old_row(database: Database) -> None:
    _register(database, _instance(content="b"))
    assert _register(database, _instance(content="c")) is Registration.CHANGED
    assert _register(database, _instance(content="b")) is Registration.DUPLICATE
    with database.read() as session:
        assert [instance.digest for instance in studies.instances_of(session, 1)] == ["c" * 64]
    assert _tags(database)[-1] == "instance:changed"


def test_a_study_that_goes_quiet_opens_one_job(database: Database) -> None:
    _register(database, _instance())
    assert _close(database, now=NOW + timedelta(seconds=9)) is None
    job_id = _close(database, now=NOW + timedelta(seconds=11))
    assert job_id is not None
    assert _close(database, now=NOW + timedelta(seconds=30)) is None
    assert _tags(database)[-2:] == ["study:closed", "job:opened"]


def test_an_open_association_holds_its_study_open(database: Database) -> None:
    with database.write() as session:
        processes.start(session, "gateway-1", "gateway", now=NOW)
        association_id = associations.opened(
            session, process_id="gateway-1", calling_aet="SENDER", called_aet="US", remote_address="10.0.0.1", now=NOW
        )
    _register(database, _instance(), association_id=association_id)
    later = NOW + timedelta(seconds=11)
    assert _close(database, now=later) is None
    with database.write() as session:
        associations.closed(session, association_id, how="released", now=later)
    assert _close(database, now=later) is not None


def test_an_association_of_a_dead_gateway_holds_nothing_open(database: Database) -> None:
    with database.write() as session:
        processes.start(session, "gateway-1", "gateway", now=NOW)
        association_id = associations.opened(
            session, process_id="gateway-1", calling_aet="SENDER", called_aet="US", remote_address="10.0.0.1", now=NOW
        )
    _register(database, _instance(), association_id=association_id)
    assert _close(database, now=NOW + timedelta(minutes=5)) is not None


def test_a_late_image_opens_the_next_revision_and_sets_the_queued_job_aside(database: Database) -> None:
    _register(database, _instance(1))
    first = _close(database, now=NOW + timedelta(seconds=11))
    _register(database, _instance(2), now=NOW + timedelta(seconds=20))
    second = _close(database, now=NOW + timedelta(seconds=31))
    assert first is not None
    assert second is not None
    with database.read() as session:
        assert jobs.find(session, first).state is JobState.SUPERSEDED
        assert (jobs.find(session, second).state, jobs.find(session, second).revision) == (JobState.QUEUED, 2)
        assert len(studies.instances_of(session, 1)) == 2
    assert {"study:reopened", "job:superseded"} <= set(_tags(database))


def test_a_duplicate_does_not_reopen_a_closed_study(database: Database) -> None:
    _register(database, _instance())
    _close(database, now=NOW + timedelta(seconds=11))
    _register(database, _instance(), now=NOW + timedelta(seconds=20))
    assert "study:reopened" not in _tags(database)


def test_an_image_between_two_looks_keeps_the_study_open(database: Database) -> None:
    _register(database, _instance(1))
    later = NOW + timedelta(seconds=11)
    with database.read() as session:
        (study_id,) = studies.quiet(session, quiet_seconds=10, now=later)
    _register(database, _instance(2), now=later)
    with database.write() as session:
        assert studies.close(session, study_id, quiet_seconds=10, now=later) is None


def test_an_unknown_study_has_no_instances(database: Database) -> None:
    with database.read() as session, pytest.raises(RecordMissing):
        studies.instances_of(session, 99)
