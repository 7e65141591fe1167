"""Proofs of deliveries as they are asked for, answered, sent anew and given up, on both databases."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from storage import audit, deliveries, delivery_claims, delivery_lists
from storage.commitment import proof_reports, proofs
from storage.commitment.proof_reports import CommitmentReport, Taken
from storage.commitment.proofs import Cause, Inquiry, Terms
from storage.commitment.references import Failure, FailureReason, Reference
from storage.database import Database
from storage.proof_ways import ProofWay
from storage.states import DeliveryState, ProofState
from tests.support.records import MR_IMAGE
from tests.support.told_destinations import add_told
from tests.support.waiting_deliveries import put_on_the_way, unkept_images

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SOON = NOW + timedelta(seconds=5)
PACS = "pacs"
TERMS = Terms(ProofWay.COMMITMENT, "2.25.700", most=100)


@pytest.fixture
def sent(database: Database) -> Database:
    """Return a database in which a destination that is to prove it took two objects."""
    with database.write() as session:
        add_told(session, PACS, now=NOW, proof="commitment")
    put_on_the_way(database, 1, unkept_images(2), destination=PACS, priority=None, now=NOW)
    _send(database, now=NOW)
    return database


def _send(database: Database, *, now: datetime) -> None:
    with database.write() as session:
        for one in delivery_claims.claim_due(session, owner="g1", lease_seconds=60, now=now):
            deliveries.sent(session, one.id, owner="g1", status=0, now=now)


def _claim(database: Database, *, uid: str = "2.25.700", now: datetime = SOON) -> Inquiry | None:
    with database.write() as session:
        return proofs.claim(session, PACS, Terms(ProofWay.COMMITMENT, uid, most=100), now=now)


def _proofs(database: Database) -> list[tuple[ProofState, str | None]]:
    with database.read() as session:
        listed = delivery_lists.listed(session)
    found = [(one.proof.state, one.proof.code) for one in listed if one.proof is not None]
    return found[::-1]


def _report(
    database: Database, *missing: int, uid: str = "2.25.700", reason: int = FailureReason.NO_SUCH_OBJECT
) -> Taken:
    references = [Reference(MR_IMAGE, f"2.25.99{number}") for number in range(2)]
    failures = tuple(Failure(references[number], reason) for number in missing)
    rest = tuple(one for number, one in enumerate(references) if number not in missing)
    with database.write() as session:
        return proof_reports.take(session, CommitmentReport(uid, rest, failures), reporter="PACS", of=[PACS], now=SOON)


def _tags(database: Database) -> list[str]:
    with database.read() as session:
        return [event.tag for event in audit.history(session, limit=1000)]


def test_what_was_sent_to_a_proving_destination_is_asked_for_once_it_settled(sent: Database) -> None:
    assert _proofs(sent) == [(ProofState.PENDING, None)] * 2
    assert _claim(sent, now=NOW) is None
    inquiry = _claim(sent)
    assert inquiry is not None
    assert [one.sop_instance_uid for one in inquiry.objects] == ["2.25.990", "2.25.991"]
    assert _claim(sent) is None, "nobody else asks for the same"
    assert _tags(sent).count("proof:asked") == 1


def test_a_destination_that_is_to_prove_nothing_is_not_asked(database: Database) -> None:
    with database.write() as session:
        add_told(session, PACS, now=NOW)
    put_on_the_way(database, 1, unkept_images(1), destination=PACS, priority=None, now=NOW)
    _send(database, now=NOW)
    assert _proofs(database) == []
    with database.read() as session:
        assert proofs.destinations(session) == ()


def test_objects_gather_for_one_request_while_others_are_being_sent_for_a_minute_at_most(sent: Database) -> None:
    put_on_the_way(sent, 2, unkept_images(1, first=5), destination=PACS, priority=None, now=SOON)
    with sent.read() as session:
        due_at = proofs.due_at(session, PACS, now=SOON)
        assert due_at == NOW + timedelta(seconds=62)
        assert proofs.due_at(session, PACS, now=due_at) == NOW + timedelta(seconds=2)


def test_a_report_commits_what_it_names_and_sends_anew_what_is_missing(sent: Database) -> None:
    _claim(sent)
    assert _report(sent, 1) is Taken.TAKEN
    assert _proofs(sent) == [(ProofState.COMMITTED, None), (ProofState.PENDING, "commitment_missing")]
    with sent.read() as session:
        (again,) = delivery_lists.listed(session, state=DeliveryState.PENDING)
    assert again.written.sop_instance_uid == "2.25.991"
    assert _claim(sent, uid="2.25.701") is None, "an object that is under way is not asked for"
    _send(sent, now=SOON)
    inquiry = _claim(sent, uid="2.25.701", now=SOON + timedelta(seconds=5))
    assert inquiry is not None
    assert [one.sop_instance_uid for one in inquiry.objects] == ["2.25.991"]
    assert {"proof:committed", "proof:missing", "delivery:retried"} <= set(_tags(sent))


def test_an_object_that_a_destination_loses_again_and_again_is_sent_twice_more_and_then_failed(sent: Database) -> None:
    for number in range(proofs.MOST_RESENT + 1):
        now = SOON + timedelta(minutes=number)
        _claim(sent, uid=f"2.25.70{number}", now=now)
        _report(sent, 0, uid=f"2.25.70{number}")
        _send(sent, now=now)
    assert _proofs(sent) == [(ProofState.FAILED, "commitment_missing"), (ProofState.COMMITTED, None)]
    assert _tags(sent).count("delivery:sent") == 2 + proofs.MOST_RESENT


def test_a_report_that_comes_twice_changes_nothing(sent: Database) -> None:
    _claim(sent)
    _report(sent)
    before = _tags(sent)
    assert _report(sent, 0, 1) is Taken.REPEATED
    assert _proofs(sent) == [(ProofState.COMMITTED, None)] * 2
    assert _tags(sent) == before


@pytest.mark.parametrize(("uid", "of"), [("2.25.999", [PACS]), ("2.25.700", ["another"])])
def test_a_report_of_an_unknown_transaction_or_by_a_stranger_changes_nothing_but_is_an_event(
    sent: Database, uid: str, of: list[str]
) -> None:
    _claim(sent)
    report = CommitmentReport(uid, (Reference(MR_IMAGE, "2.25.990"),), ())
    with sent.write() as session:
        assert proof_reports.take(session, report, reporter="WHO", of=of, now=SOON) is Taken.UNKNOWN
    assert _proofs(sent) == [(ProofState.ASKED, None)] * 2
    assert _tags(sent)[-1] == "proof:report-refused"


def test_an_object_that_a_report_leaves_out_is_asked_for_again_later(sent: Database) -> None:
    _claim(sent)
    with sent.write() as session:
        only = CommitmentReport("2.25.700", (Reference(MR_IMAGE, "2.25.990"), Reference(MR_IMAGE, "2.25.1")), ())
        proof_reports.take(session, only, reporter="PACS", of=[PACS], now=SOON)
    assert _proofs(sent) == [(ProofState.COMMITTED, None), (ProofState.PENDING, "commitment_unclear")]
    inquiry = _claim(sent, uid="2.25.701", now=SOON + timedelta(seconds=10))
    assert inquiry is not None
    assert len(inquiry.objects) == 1


def test_a_destination_that_will_not_vouch_fails_the_proof_at_once(sent: Database) -> None:
    _claim(sent)
    _report(sent, 0, reason=FailureReason.CLASS_NOT_SUPPORTED)
    assert _proofs(sent) == [(ProofState.FAILED, "commitment_refused"), (ProofState.COMMITTED, None)]


def test_a_report_that_never_comes_is_asked_for_anew_and_given_up_at_last(sent: Database) -> None:
    now = SOON
    for attempt, patience in enumerate(proofs.PATIENCE):
        assert _claim(sent, uid=f"2.25.70{attempt}", now=now) is not None
        with sent.write() as session:
            assert proofs.end_overdue(session, now=now + patience - timedelta(seconds=1)) == 0
            assert proofs.end_overdue(session, now=now + patience) == 2
        now += patience
    assert _proofs(sent) == [(ProofState.FAILED, proofs.UNANSWERED)] * 2
    assert _claim(sent, now=now) is None


def test_a_destination_that_cannot_be_asked_is_tried_for_two_days_with_one_event_each_time(sent: Database) -> None:
    now, tries = SOON, 0
    with sent.write() as session:
        while inquiry := proofs.claim(session, PACS, Terms(ProofWay.COMMITMENT, f"2.25.{tries}", most=100), now=now):
            proofs.put_off(session, inquiry, Cause("peer_unreachable", "nobody answers"), now=now)
            now = proofs.due_at(session, PACS, now=now) or now
            tries += 1
        told = Counter(event.tag for event in audit.history(session, limit=2_000))
    assert _proofs(sent) == [(ProofState.FAILED, "peer_unreachable")] * 2
    assert 100 < tries < 250
    assert proofs.UNREACHABLE_FOR <= now - NOW < proofs.UNREACHABLE_FOR + timedelta(hours=1)
    assert (told["proof:asked"], told["proof:not-asked"]) == (tries, tries)
    assert (told["proof:postponed"], told["proof:failed"]) == (2, 2)


def test_sending_anew_by_a_person_begins_the_proof_again(sent: Database) -> None:
    _claim(sent)
    _report(sent, 0, 1, reason=FailureReason.CLASS_NOT_SUPPORTED)
    with sent.write() as session:
        (first, *_) = delivery_lists.listed(session)
        deliveries.retry(session, first.id, actor="operator", now=SOON)
    _send(sent, now=SOON)
    assert _proofs(sent) == [(ProofState.FAILED, "commitment_refused"), (ProofState.PENDING, None)]


def test_what_nobody_wants_to_be_proven_any_more_is_withdrawn(sent: Database) -> None:
    _claim(sent)
    with sent.write() as session:
        proofs.withdraw(session, PACS, now=SOON)
        proofs.withdraw(session, PACS, now=SOON)
    assert _proofs(sent) == []
    assert _tags(sent).count("proof:withdrawn") == 1
