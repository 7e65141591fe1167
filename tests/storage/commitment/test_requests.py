"""Requests of peers that we vouch for instances, on both databases."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from storage import audit
from storage.commitment import requests
from storage.commitment.references import Failure, FailureReason, Reference
from storage.commitment.requests import Asker, CommitmentRequest
from storage.database import Database
from storage.errors import RecordExists
from storage.states import CommitmentState
from tests.support.records import MR_IMAGE

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ASKER = Asker("modality", "MODALITY")
ONE, OTHER = Reference(MR_IMAGE, "1.2.3.1"), Reference(MR_IMAGE, "1.2.3.2")
HOLD = timedelta(seconds=30)


def _ask(database: Database, *references: Reference, now: datetime = NOW, by: Asker = ASKER) -> CommitmentRequest:
    with database.write() as session:
        return requests.ask(session, by, "2.25.1", references or (ONE, OTHER), hold=HOLD, now=now)


def _due(database: Database, now: datetime) -> tuple[int, ...]:
    with database.read() as session:
        return requests.due(session, now=now, limit=10)


def test_a_request_is_asked_judged_and_reported_and_each_is_an_event(database: Database) -> None:
    asked = _ask(database)
    assert (asked.state, asked.references, asked.failures) == (CommitmentState.ASKED, (ONE, OTHER), None)
    with database.write() as session:
        failure = Failure(OTHER, FailureReason.NO_SUCH_OBJECT)
        judged = requests.judged(session, asked.id, [failure], now=NOW)
        assert (judged.committed, judged.failures) == ((ONE,), (failure,))
        requests.reported(session, asked.id, now=NOW)
    with database.read() as session:
        assert requests.find(session, asked.id).state is CommitmentState.REPORTED
        assert requests.next_at(session) is None
        tags = [event.tag for event in audit.history(session, subject="commitment/2.25.1")]
    assert tags == ["commitment:asked", "commitment:judged", "commitment:reported"]


def test_rounds_leave_a_request_to_its_association_for_a_while(database: Database) -> None:
    asked = _ask(database)
    assert _due(database, NOW + timedelta(seconds=29)) == ()
    assert _due(database, NOW + HOLD) == (asked.id,)
    with database.write() as session:
        requests.hand_over(session, asked.id, now=NOW)
        assert requests.take(session, asked.id, seconds=60, now=NOW) is not None
        assert requests.take(session, asked.id, seconds=60, now=NOW) is None, "one round at a time has it"


def test_the_same_transaction_is_one_request_that_is_reported_again(database: Database) -> None:
    asked = _ask(database)
    with database.write() as session:
        requests.judged(session, asked.id, [Failure(ONE, FailureReason.NO_SUCH_OBJECT)], now=NOW)
        requests.reported(session, asked.id, now=NOW)
    again = _ask(database, now=NOW + timedelta(hours=1))
    assert (again.id, again.state, again.failures) == (asked.id, CommitmentState.ASKED, None)
    with database.read() as session:
        assert len(requests.listed(session)) == 1


def test_a_transaction_in_use_for_other_instances_is_refused_and_stays_as_it_was(database: Database) -> None:
    _ask(database, ONE)
    with pytest.raises(RecordExists, match="Transaction UID"):
        _ask(database, OTHER)
    with database.read() as session:
        (known,) = requests.listed(session)
    assert known.references == (ONE,)


def test_two_peers_may_use_the_same_transaction_uid(database: Database) -> None:
    assert _ask(database).id != _ask(database, OTHER, by=Asker("other", "OTHER")).id


def test_a_report_that_the_peer_does_not_take_is_offered_for_a_day(database: Database) -> None:
    asked, now, offers = _ask(database), NOW + HOLD, 0
    with database.write() as session:
        requests.judged(session, asked.id, [], now=NOW)
    while (due := _due(database, now)) == (asked.id,):
        with database.write() as session:
            requests.take(session, asked.id, seconds=60, now=now)
            requests.postponed(session, asked.id, code="peer_unreachable", reason="nobody answers", now=now)
            now = requests.next_at(session) or now
        offers += 1
    assert due == ()
    with database.read() as session:
        given_up = requests.find(session, asked.id)
        last = audit.history(session)[-1]
    assert (given_up.state, given_up.code) == (CommitmentState.FAILED, "peer_unreachable")
    assert (last.tag, last.outcome) == ("commitment:failed", "failed")
    assert now - NOW >= requests.REPORTED_FOR
    assert 90 < offers < 120
    assert _ask(database, now=now).state is CommitmentState.ASKED, "the peer may ask once more"
