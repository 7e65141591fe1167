from __future__ import annotations

from datetime import timedelta

import pytest

from storage.database import Database
from storage.errors import LeaseLost, RecordMissing
from storage.fewshot import fit_requests
from storage.fewshot.fit_requests import LEASE_SECONDS, MAX_ATTEMPTS, Order, OrderKind, OrderState, Wish
from tests.support.classification import NOW, new_task


def _placed(database: Database) -> Order:
    with database.write() as session:
        return fit_requests.place(session, new_task(session), Wish(OrderKind.FIT, seed=3), actor="api:x", now=NOW)


def test_an_order_is_taken_once_and_ends_with_its_adapter_or_a_reason(sqlite_database: Database) -> None:
    placed = _placed(sqlite_database)
    with sqlite_database.write() as session:
        taken = fit_requests.claim(session, owner="w1", now=NOW)
        assert taken is not None
        assert (taken.id, taken.state, taken.wish.seed) == (placed.id, OrderState.RUNNING, 3)
        assert fit_requests.claim(session, owner="w2", now=NOW) is None
        with pytest.raises(LeaseLost):
            fit_requests.done(session, taken.id, 1, owner="w2", now=NOW)
        fit_requests.fail(session, taken.id, code="one_class_only", reason="add another class", owner="w1", now=NOW)
    with sqlite_database.read() as session:
        found = fit_requests.find(session, placed.id)
        assert (found.state, found.code) == (OrderState.FAILED, "one_class_only")
        with pytest.raises(RecordMissing):
            fit_requests.find(session, 99)


def test_an_order_whose_workers_vanish_is_taken_again_and_then_set_aside(sqlite_database: Database) -> None:
    placed, now = _placed(sqlite_database), NOW
    for _ in range(MAX_ATTEMPTS):
        with sqlite_database.write() as session:
            assert fit_requests.claim(session, owner="w", now=now) is not None
        now += timedelta(seconds=LEASE_SECONDS + 1)
    with sqlite_database.write() as session:
        assert fit_requests.claim(session, owner="w", now=now) is None
        assert fit_requests.find(session, placed.id).code == "worker_lost"
