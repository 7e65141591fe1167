from __future__ import annotations

from datetime import timedelta

import pytest

from storage import audit
from storage.database import Database
from storage.errors import IllegalTransition, LeaseLost, RecordMissing
from storage.fewshot import fit_requests
from storage.fewshot.fit_requests import (
    LEASE_SECONDS,
    MAX_ATTEMPTS,
    FitRequest,
    HeldRequest,
    RequestKind,
    RequestState,
    Wish,
)
from storage.fewshot.tables import ClassificationOrderRow
from tests.support.classification import DRAFT, NOW, new_task

AFTER_THE_LEASE = NOW + timedelta(seconds=LEASE_SECONDS + 1)


def _placed(database: Database) -> FitRequest:
    with database.write() as session:
        return fit_requests.place(session, new_task(session), Wish(RequestKind.FIT, seed=3), actor="api:x", now=NOW)


def _claimed(database: Database, request_id: int, owner: str = "w1") -> HeldRequest:
    with database.write() as session:
        held = fit_requests.claim(session, request_id, owner=owner, now=NOW)
    assert held is not None
    return held


def _tags(database: Database) -> list[str]:
    with database.read() as session:
        found = audit.history(session, subject=f"task/{DRAFT.name}")
        return [event.tag for event in found if event.tag.startswith("order:")]


def test_a_request_is_published_and_taken_once_and_ends_with_a_reason(database: Database) -> None:
    placed = _placed(database)
    with database.write() as session:
        assert fit_requests.publishable(session) == (placed.id,)
        assert fit_requests.published(session, placed.id, now=NOW)
        assert not fit_requests.published(session, placed.id, now=NOW)
        assert fit_requests.publishable(session) == ()
    held = _claimed(database, placed.id)
    assert (held.request.id, held.request.state, held.request.wish.seed) == (placed.id, RequestState.RUNNING, 3)
    with database.write() as session:
        assert fit_requests.claim(session, placed.id, owner="w2", now=NOW) is None
        fit_requests.fail(session, held, code="one_class_only", reason="add another class", now=NOW)
        assert fit_requests.claim(session, placed.id, owner="w2", now=NOW) is None
    with database.read() as session:
        found = fit_requests.find(session, placed.id)
        assert (found.state, found.code) == (RequestState.FAILED, "one_class_only")
        with pytest.raises(RecordMissing):
            fit_requests.find(session, 99)
    assert _tags(database) == ["order:placed", "order:published", "order:claimed", "order:failed"]


def test_a_late_writer_is_refused_once_the_request_was_taken_over(database: Database) -> None:
    placed = _placed(database)
    late = _claimed(database, placed.id)
    with database.write() as session:
        assert fit_requests.reclaim_expired(session, now=NOW) == ()
        assert fit_requests.reclaim_expired(session, now=AFTER_THE_LEASE) == (placed.id,)
    taken_over = _claimed(database, placed.id, "w1")
    with database.write() as session, pytest.raises(LeaseLost):
        fit_requests.done(session, late, 1, now=NOW)
    with database.write() as session:
        fit_requests.fail(session, taken_over, code="x", reason="y", now=NOW)


def test_a_request_whose_workers_vanish_is_published_again_and_then_set_aside(database: Database) -> None:
    placed = _placed(database)
    for attempt in range(MAX_ATTEMPTS):
        with database.write() as session:
            assert fit_requests.published(session, placed.id, now=NOW), attempt
        _claimed(database, placed.id, "dead")
        with database.write() as session:
            assert fit_requests.release_owner(session, "another", now=NOW) == ()
            assert fit_requests.release_owner(session, "dead", now=NOW) == (placed.id,)
    with database.read() as session:
        assert fit_requests.publishable(session) == ()
        found = fit_requests.find(session, placed.id)
    assert (found.state, found.code) == (RequestState.FAILED, "worker_lost")


def test_a_lost_message_is_sent_again_once_it_is_old_enough(database: Database) -> None:
    placed, age = _placed(database), timedelta(seconds=10)
    with database.write() as session:
        fit_requests.published(session, placed.id, now=NOW)
        assert fit_requests.republish_lost(session, older_than=age, now=NOW + age) == 0
        assert fit_requests.republish_lost(session, older_than=age, now=NOW + 2 * age) == 1
        assert fit_requests.publishable(session) == (placed.id,)


def test_a_step_that_the_table_does_not_allow_is_refused(database: Database) -> None:
    placed = _placed(database)
    held = _claimed(database, placed.id)
    with database.write() as session:
        fit_requests.fail(session, held, code="x", reason="y", now=NOW)
        row = session.get_one(ClassificationOrderRow, placed.id)
        with pytest.raises(IllegalTransition):
            fit_requests._step(row, RequestState.RUNNING)


def test_what_may_pass_by_itself_is_tried_again_until_the_attempts_are_used_up(database: Database) -> None:
    placed = _placed(database)
    for attempt in range(1, MAX_ATTEMPTS + 1):
        held = _claimed(database, placed.id)
        with database.write() as session:
            state = fit_requests.fail(session, held, code="storage_full", reason="no room", retryable=True, now=NOW)
        assert state is (RequestState.WAITING if attempt < MAX_ATTEMPTS else RequestState.FAILED)
    with database.read() as session:
        assert fit_requests.publishable(session) == ()
        assert fit_requests.find(session, placed.id).code == "storage_full"
    assert _tags(database).count("order:requeued") == MAX_ATTEMPTS - 1
