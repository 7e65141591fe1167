"""The job state machine, step by step, on both databases."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session

from storage import audit, job_lists, job_messages, jobs, registering
from storage.arrivals import Origin, StudyFacts
from storage.database import Database
from storage.domain import Lane, StoredInstance
from storage.errors import IllegalTransition, LeaseLost, RecordMissing
from storage.job_messages import DueJob
from storage.models import JobRow
from storage.processes import Served
from storage.states import JobState
from tests.support.routing import close_as_head, quiet_studies

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MR = "1.2.840.10008.5.1.4.1.1.4"


def _open(database: Database, study: str = "1.2.3", *, lane: Lane = Lane.ROUTINE) -> int:
    instance = StoredInstance(study, "1.2.4", f"{study}.5", MR, "1.2.840.10008.1.2.1", "MR", "a" * 64, "b" * 64, 10)
    origin = Origin("SENDER", None, lane)
    with database.write() as session:
        registering.register_instance(session, instance, StudyFacts(), origin=origin, now=NOW)
        (study_id,) = quiet_studies(session, quiet_seconds=0, now=NOW)
        job_id = close_as_head(session, study_id, quiet_seconds=0, now=NOW)
    assert job_id is not None
    return job_id


def _claim(database: Database, job_id: int, *, owner: str = "w1", now: datetime = NOW) -> jobs.Claim:
    with database.write() as session:
        held = jobs.claim(session, job_id, owner=owner, lease_seconds=60, now=now)
    assert held is not None
    return held


def _job(database: Database, job_id: int) -> job_lists.Job:
    with database.read() as session:
        return job_lists.find(session, job_id)


def _tags(database: Database, job_id: int) -> list[str]:
    with database.read() as session:
        return [event.tag for event in audit.history(session, subject=f"job/{job_id}")]


def test_a_job_goes_from_opened_to_succeeded_and_each_step_is_on_record(database: Database) -> None:
    job_id = _open(database)
    with database.write() as session:
        assert job_messages.publishable(session, now=NOW) == (DueJob(job_id, Lane.ROUTINE, "default"),)
        assert job_messages.published(session, job_id, now=NOW)
        assert job_messages.publishable(session, now=NOW) == ()
    held = _claim(database, job_id)
    with database.write() as session:
        jobs.complete(session, held, now=NOW + SECOND)
    job = _job(database, job_id)
    assert (job.state, job.attempts, job.lease_owner) == (JobState.SUCCEEDED, 1, None)
    assert job.finished_at == NOW + SECOND
    assert _tags(database, job_id) == ["job:opened", "job:published", "job:claimed", "job:succeeded"]


def test_a_taken_finished_or_unknown_job_cannot_be_claimed(database: Database) -> None:
    job_id = _open(database)
    held = _claim(database, job_id)
    with database.write() as session:
        assert jobs.claim(session, job_id, owner="w2", lease_seconds=60, now=NOW) is None
        jobs.complete(session, held, now=NOW)
        assert jobs.claim(session, job_id, owner="w2", lease_seconds=60, now=NOW) is None
        assert jobs.claim(session, 999, owner="w2", lease_seconds=60, now=NOW) is None
    assert _tags(database, job_id).count("job:claimed") == 1


def test_a_published_or_running_job_is_not_published_again(database: Database) -> None:
    job_id = _open(database)
    with database.write() as session:
        assert job_messages.published(session, job_id, now=NOW)
        assert not job_messages.published(session, job_id, now=NOW)
        assert not job_messages.published(session, 999, now=NOW)


def test_a_retryable_failure_waits_longer_each_time_and_ends_at_the_cap(database: Database) -> None:
    job_id, now, delays = _open(database), NOW, []
    for attempt in range(1, jobs.MAX_ATTEMPTS + 1):
        held = _claim(database, job_id, now=now)
        with database.write() as session:
            state = jobs.fail(session, held, code="out_of_device_memory", reason="r", retryable=True, now=now)
            assert state is (JobState.FAILED if attempt == jobs.MAX_ATTEMPTS else JobState.QUEUED)
            early = job_messages.publishable(session, now=now)
            assert early == ()
        if state is JobState.QUEUED:
            wait = next(s for s in range(1, 200) if _is_due(database, now + s * SECOND))
            delays.append(wait)
            now += wait * SECOND
    assert delays == [15, 30]
    job = _job(database, job_id)
    assert (job.state, job.code, job.reason) == (JobState.FAILED, "out_of_device_memory", "r")
    assert _tags(database, job_id).count("job:requeued") == 2
    assert _tags(database, job_id)[-1] == "job:failed"


def test_a_job_that_waits_for_its_retry_time_cannot_be_claimed_early(database: Database) -> None:
    job_id = _open(database)
    with database.write() as session:
        held = jobs.claim(session, job_id, owner="w1", lease_seconds=60, now=NOW)
        assert held is not None
        jobs.fail(session, held, code="c", reason="r", retryable=True, now=NOW)
        assert jobs.claim(session, job_id, owner="w1", lease_seconds=60, now=NOW + SECOND) is None
        assert jobs.claim(session, job_id, owner="w1", lease_seconds=60, now=NOW + 16 * SECOND) is not None


def test_a_permanent_failure_fails_at_once(database: Database) -> None:
    job_id = _open(database)
    held = _claim(database, job_id)
    with database.write() as session:
        assert jobs.fail(session, held, code="no_analyser", reason="r", retryable=False, now=NOW) is JobState.FAILED


def test_an_expired_lease_gives_the_job_back_and_the_old_holder_is_refused(database: Database) -> None:
    job_id = _open(database)
    late = _claim(database, job_id)
    with database.write() as session:
        assert jobs.reclaim_expired(session, now=NOW + 59 * SECOND) == ()
        assert jobs.reclaim_expired(session, now=NOW + 61 * SECOND) == (job_id,)
    new = _claim(database, job_id, owner="w2", now=NOW + 62 * SECOND)
    assert new.token > late.token
    steps: list[Callable[[Session], object]] = [
        lambda session: jobs.extend_lease(session, late, lease_seconds=60, now=NOW),
        lambda session: jobs.complete(session, late, now=NOW),
        lambda session: jobs.fail(session, late, code="c", reason="r", retryable=True, now=NOW),
    ]
    for step in steps:
        with pytest.raises(LeaseLost), database.write() as session:
            step(session)
    assert _job(database, job_id).lease_owner == "w2"


def test_a_heartbeat_keeps_the_job(database: Database) -> None:
    job_id = _open(database)
    held = _claim(database, job_id)
    with database.write() as session:
        jobs.extend_lease(session, held, lease_seconds=60, now=NOW + 50 * SECOND)
        assert jobs.reclaim_expired(session, now=NOW + 100 * SECOND) == ()
        assert jobs.reclaim_expired(session, now=NOW + 111 * SECOND) == (job_id,)


def test_a_job_that_loses_its_worker_three_times_fails_and_can_be_retried(database: Database) -> None:
    job_id = _open(database)
    for _ in range(jobs.MAX_ATTEMPTS):
        _claim(database, job_id)
        with database.write() as session:
            assert jobs.release_owner(session, "somebody else", now=NOW) == ()
            assert jobs.release_owner(session, "w1", now=NOW) == (job_id,)
    assert (_job(database, job_id).state, _job(database, job_id).code) == (JobState.FAILED, "worker_lost")
    with database.write() as session:
        jobs.retry(session, job_id, actor="operator", now=NOW)
    job = _job(database, job_id)
    assert (job.state, job.attempts, job.code) == (JobState.QUEUED, 0, None)
    assert _tags(database, job_id)[-1] == "job:retried"
    assert _is_due(database, NOW)


@pytest.mark.parametrize("state", [JobState.QUEUED, JobState.RUNNING, JobState.SUPERSEDED])
@pytest.mark.slow
def test_only_a_finished_job_can_be_retried(database: Database, state: JobState) -> None:
    job_id = _open(database)
    _force(database, job_id, state)
    with pytest.raises(IllegalTransition), database.write() as session:
        jobs.retry(session, job_id, actor="operator", now=NOW)
    with pytest.raises(RecordMissing), database.write() as session:
        jobs.retry(session, 999, actor="operator", now=NOW)


@pytest.mark.parametrize("start", list(JobState))
@pytest.mark.parametrize("end", list(JobState))
def test_the_table_decides_every_step(database: Database, start: JobState, end: JobState) -> None:
    job_id = _open(database)
    _force(database, job_id, start)
    with database.write() as session:
        row = session.get_one(JobRow, job_id)
        if end in jobs.ALLOWED[start]:
            jobs._step(row, end)
            assert row.state == end.value
        else:
            with pytest.raises(IllegalTransition):
                jobs._step(row, end)


def test_jobs_lost_by_the_broker_are_published_again_lane_by_lane(database: Database) -> None:
    stat, batch = _open(database, "1.2.3", lane=Lane.STAT), _open(database, "1.2.4", lane=Lane.BATCH)
    with database.write() as session:
        for job_id in (stat, batch):
            job_messages.published(session, job_id, now=NOW)
        assert (
            job_messages.republish_lost(session, "default", Lane.STAT, older_than=10 * SECOND, now=NOW + 5 * SECOND)
            == 0
        )
        assert (
            job_messages.republish_lost(session, "default", Lane.STAT, older_than=10 * SECOND, now=NOW + 11 * SECOND)
            == 1
        )
        assert job_messages.publishable(session, now=NOW + 11 * SECOND) == (DueJob(stat, Lane.STAT, "default"),)
    assert _tags(database, stat)[-1] == "job:message-lost"
    assert _tags(database, batch)[-1] == "job:published"


def test_a_dead_worker_costs_an_attempt_of_the_job_to_blame_alone(database: Database) -> None:
    guilty, innocent = _open(database, "1.2.3"), _open(database, "1.2.4")
    for job_id in (guilty, innocent):
        _claim(database, job_id)
    with database.write() as session:
        assert set(jobs.release_owner(session, "w1", innocent={innocent}, now=NOW)) == {guilty, innocent}
    found = [(_job(database, job_id).state, _job(database, job_id).attempts) for job_id in (guilty, innocent)]
    assert found == [(JobState.QUEUED, 1), (JobState.QUEUED, 0)]
    assert [_tags(database, job_id)[-1] for job_id in (guilty, innocent)] == ["job:lease-expired", "job:handed-back"]


def test_a_job_that_is_handed_back_costs_no_attempt_and_is_published_again(database: Database) -> None:
    job_id = _open(database)
    held = _claim(database, job_id)
    with database.write() as session:
        jobs.hand_back(session, held, reason="more-urgent", now=NOW)
    job = _job(database, job_id)
    assert (job.state, job.attempts, job.lease_owner) == (JobState.QUEUED, 0, None)
    assert _is_due(database, NOW)
    with pytest.raises(LeaseLost), database.write() as session:
        jobs.hand_back(session, held, reason="more-urgent", now=NOW)


def _is_due(database: Database, now: datetime) -> bool:
    with database.read() as session:
        return bool(job_messages.publishable(session, now=now))


def _force(database: Database, job_id: int, state: JobState) -> None:
    with database.write() as session:
        session.execute(update(JobRow).where(JobRow.id == job_id).values(state=state.value))


def test_a_job_stays_back_while_no_worker_of_its_pool_has_its_analyser(database: Database) -> None:
    job_id = _open(database)
    with database.read() as session:
        others = frozenset({Served("default", "chest")})
        assert job_messages.publishable(session, served=others, now=NOW) == ()
        elsewhere = frozenset({Served("other", "chest")})
        assert [job.id for job in job_messages.publishable(session, served=elsewhere, now=NOW)] == [job_id]
        able = others | {Served("default", "zero-shot")}
        assert [job.id for job in job_messages.publishable(session, served=able, now=NOW)] == [job_id]


def test_a_message_that_reached_the_wrong_worker_is_handed_back(database: Database) -> None:
    job_id = _open(database)
    with database.write() as session:
        job_messages.published(session, job_id, now=NOW)
        job_messages.hand_back(session, job_id, actor="w1", now=NOW)
    with database.read() as session:
        assert [job.id for job in job_messages.publishable(session, now=NOW)] == [job_id]
        assert job_lists.find(session, job_id).attempts == 0


def test_a_job_that_a_later_one_followed_is_not_retried(database: Database) -> None:
    first = _open(database)
    held = _claim(database, first)
    with database.write() as session:
        jobs.complete(session, held, now=NOW)
    instance = StoredInstance("1.2.3", "1.2.4", "1.2.3.6", MR, "1.2.840.10008.1.2.1", "MR", "c" * 64, "d" * 64, 10)
    with database.write() as session:
        registering.register_instance(session, instance, StudyFacts(), origin=Origin("S", None), now=NOW)
        second = close_as_head(session, 1, quiet_seconds=0, now=NOW)
    with database.write() as session, pytest.raises(IllegalTransition, match=f"followed by job {second}"):
        jobs.retry(session, first, actor="op", now=NOW)
