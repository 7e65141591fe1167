"""Entries of destinations, what they said that they take, and what follows for results, on both databases."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy.orm import Session

from storage import (
    audit,
    calling_off,
    deliveries,
    delivery_claims,
    delivery_lists,
    destinations,
    form_refusals,
    negotiations,
    reports,
)
from storage.database import Database
from storage.delivery_claims import ClaimTerms
from storage.delivery_lists import Delivery
from storage.delivery_tables import DestinationCircuitRow, DestinationNegotiationRow
from storage.destinations import DestinationEntry
from storage.domain import ObjectKind, Priority
from storage.errors import DestinationBusy, RecordExists, RecordMissing
from storage.objects import ObjectStore
from storage.reports import AddressedObject, RecordedChoice
from storage.result_tables import ReportRow
from storage.states import DeliveryState, ReportState
from storage.written_objects import WrittenObject
from tests.support.records import NOW, finish_again, queued_study

PACS = DestinationEntry("pacs", "PACS@10.0.0.1:104", (ObjectKind.SEG, ObjectKind.SR))
TERMS = ClaimTerms("g", 60)
SEG_CLASS, SR_CLASS, SC_CLASS = (
    "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.88.34", "1.2.840.10008.5.1.4.1.1.7"
)  # fmt: skip # one row
CLASSES = {ObjectKind.SEG: SEG_CLASS, ObjectKind.SR: SR_CLASS, ObjectKind.SC: SC_CLASS}
DEPARTURE = RecordedChoice(
    "pacs",
    (ObjectKind.SEG, ObjectKind.SR),
    (ObjectKind.SC, ObjectKind.SR),
    "SEG not_taken",
    frozenset({ObjectKind.SEG}),
)


def add(database: Database, entry: DestinationEntry = PACS) -> None:
    with database.write() as session:
        destinations.add(session, entry, actor="cli:op", now=NOW)


def tags(database: Database, beginning: str = "destination:") -> list[str]:
    with database.read() as session:
        return [event.tag for event in audit.history(session, limit=1000) if event.tag.startswith(beginning)]


def written(job_id: int, kind: ObjectKind) -> WrittenObject:
    return WrittenObject(
        kind,
        f"2.25.{job_id}{list(ObjectKind).index(kind)}",
        CLASSES[kind],
        "2.25.8",
        "1.2.840.10008.1.2.1",
        "c" * 64,
        9,
    )


def finished(database: Database, objects: ObjectStore, number: int = 1) -> int:
    """Record a study with an analysis whose report is to be written."""
    job_id = queued_study(database, number).job_id
    finish_again(database, objects, job_id)
    return job_id


def report(
    database: Database, job_id: int, *kinds: ObjectKind, to: str = "pacs", choices: tuple[RecordedChoice, ...] = ()
) -> None:
    with database.write() as session:
        addressed = [AddressedObject(written(job_id, kind), (to,)) for kind in kinds]
        reports.written_to(session, job_id, addressed, choices=choices, now=NOW)


def states(database: Database) -> dict[tuple[str, ObjectKind], DeliveryState]:
    with database.read() as session:
        return {(one.destination, one.written.kind): one.state for one in delivery_lists.listed(session)}


def test_an_entry_is_added_changed_held_back_and_removed_and_each_is_an_event(database: Database) -> None:
    full = DestinationEntry(
        "ris", "tls://RIS@10.0.0.2:2762", (ObjectKind.SC, ObjectKind.PDF), ("head", "chest"), (Priority.STAT,),
        ("1.2.840.10008.1.2",), 700, "AI", "ISO_IR 192", keeps_segmentations=False, rejection_notes=True,
        associations=3, objects_per_association=10, kilobytes_per_second=500,
    )  # fmt: skip # an entry in full
    add(database)
    add(database, full)
    with pytest.raises(RecordExists):
        add(database)
    with database.read() as session:
        assert destinations.entries(session) == (PACS, full)
        assert destinations.find(session, "ris").added_by == "cli:op"
    changed = replace(PACS, forms=(ObjectKind.SC,))
    with database.write() as session:
        destinations.change(session, changed, actor="cli:op", now=NOW)
        destinations.change(session, changed, actor="cli:op", now=NOW)
        destinations.set_paused(session, "pacs", paused=True, actor="cli:op", now=NOW)
        destinations.set_paused(session, "pacs", paused=True, actor="cli:op", now=NOW)
        destinations.set_paused(session, "pacs", paused=False, actor="cli:op", now=NOW)
        destinations.remove(session, "ris", actor="cli:op", now=NOW)
        with pytest.raises(RecordMissing):
            destinations.remove(session, "ris", actor="cli:op", now=NOW)
    with database.read() as session:
        assert destinations.entries(session) == (changed,)
    told = ["added", "added", "changed", "paused", "resumed", "removed"]
    assert tags(database) == [f"destination:{verb}" for verb in told]


def test_an_entry_wants_the_routes_and_priorities_that_it_names() -> None:
    entry = replace(PACS, routes=("head",), priorities=(Priority.STAT, Priority.HIGH))
    assert entry.wants("head", Priority.HIGH)
    assert not entry.wants("head", Priority.LOW)
    assert not entry.wants("chest", Priority.STAT)
    assert PACS.wants("chest", Priority.LOW)


def test_an_entry_with_results_on_their_way_is_removed_once_they_are_called_off(
    database: Database, objects: ObjectStore
) -> None:
    add(database)
    job_id = finished(database, objects)
    report(database, job_id, ObjectKind.SEG, ObjectKind.SR)
    with database.write() as session, pytest.raises(DestinationBusy, match="2 deliveries"):
        destinations.remove(session, "pacs", actor="cli:op", now=NOW)
    with database.write() as session:
        assert calling_off.call_off_destination(session, "pacs", actor="cli:op", now=NOW, limit=1) == 1
    with database.write() as session:
        assert calling_off.call_off_destination(session, "pacs", actor="cli:op", now=NOW) == 1
        assert calling_off.call_off_destination(session, "pacs", actor="cli:op", now=NOW) == 0
        destinations.remove(session, "pacs", actor="cli:op", now=NOW)
    assert set(states(database).values()) == {DeliveryState.CALLED_OFF}
    with database.read() as session:
        called_off = audit.history(session, tag="delivery:called-off")
    assert [(event.actor, '"code":"destination_removed"' in event.details) for event in called_off] == [
        ("cli:op", True)
    ] * 2


def test_what_is_under_way_keeps_an_entry(database: Database, objects: ObjectStore) -> None:
    add(database)
    report(database, finished(database, objects), ObjectKind.SR)
    with database.write() as session:
        (one,) = delivery_claims.claim(session, "pacs", TERMS, now=NOW)
        assert calling_off.call_off_destination(session, "pacs", actor="cli:op", now=NOW) == 0
        with pytest.raises(DestinationBusy):
            destinations.remove(session, "pacs", actor="cli:op", now=NOW)
        deliveries.sent(session, one.id, owner="g", status=0, now=NOW)
        destinations.remove(session, "pacs", actor="cli:op", now=NOW)


def test_what_a_removed_destination_had_refused_is_called_off(database: Database, objects: ObjectStore) -> None:
    add(database)
    report(database, finished(database, objects), ObjectKind.SR)
    with database.write() as session:
        (one,) = delivery_claims.claim(session, "pacs", TERMS, now=NOW)
        deliveries.refused(session, one.id, owner="g", status=0xA900, code="peer_rejected_object", reason="", now=NOW)
        destinations.remove(session, "pacs", actor="cli:op", now=NOW)
    with database.write() as session:
        assert calling_off.call_off_destination(session, "pacs", actor="cli:op", now=NOW, refused=True) == 1
    assert set(states(database).values()) == {DeliveryState.CALLED_OFF}


def test_another_address_is_another_peer_of_which_nothing_is_known(database: Database) -> None:
    add(database)
    with database.write() as session:
        negotiations.answered(session, "pacs", {SEG_CLASS: ()}, now=NOW)
        session.add(
            DestinationCircuitRow(
                destination="pacs", failures=3, open_until=NOW + timedelta(hours=1), code="peer_silent", reason="r",
                changed_at=NOW,
            )
        )  # fmt: skip # a row
        session.flush()
        destinations.change(session, replace(PACS, series_number_base=7), actor="a", now=NOW)
        assert negotiations.find(session, "pacs").taken == {SEG_CLASS: ()}
        assert destinations.open_circuits(session, now=NOW)["pacs"].failures == 3
        destinations.change(session, replace(PACS, address="PACS@10.0.0.9:104"), actor="a", now=NOW)
        assert negotiations.find(session, "pacs").asked_at is None
        assert destinations.open_circuits(session, now=NOW) == {}
    with database.read() as session:
        assert session.get(DestinationNegotiationRow, "pacs") is None


def test_a_negotiation_holds_for_a_day_and_one_that_failed_for_a_minute(database: Database) -> None:
    with database.write() as session:
        assert negotiations.find(session, "pacs").is_due(NOW)
        negotiations.answered(session, "pacs", {SEG_CLASS: ("1.2.840.10008.1.2",), SR_CLASS: ()}, now=NOW)
    with database.write() as session:
        known = negotiations.find(session, "pacs")
        assert known.taken == {SEG_CLASS: ("1.2.840.10008.1.2",), SR_CLASS: ()}
        assert not known.is_due(NOW + timedelta(hours=23))
        assert known.is_due(NOW + timedelta(hours=24))
        negotiations.unanswered(session, "pacs", code="peer_unreachable", now=NOW)
        silent = negotiations.find(session, "pacs")
        assert (silent.taken, silent.code) == (known.taken, "peer_unreachable")
        assert not silent.is_due(NOW + timedelta(seconds=59))
        assert silent.is_due(NOW + timedelta(seconds=60))
        negotiations.answered(session, "pacs", known.taken, now=NOW)
    # What it says a second time is no news.
    assert tags(database) == ["destination:negotiated"]


def test_what_is_being_sent_is_not_called_off_and_whoever_removes_its_entry_is_told_to_wait(
    database: Database, objects: ObjectStore
) -> None:
    add(database)
    report(database, finished(database, objects), ObjectKind.SEG)
    with database.write() as session:
        delivery_claims.claim(session, "pacs", TERMS, now=NOW)
        assert calling_off.call_off_destination(session, "pacs", actor="cli:op", now=NOW) == 0
    with database.write() as session, pytest.raises(DestinationBusy, match="being sent at this moment") as told:
        destinations.remove(session, "pacs", actor="cli:op", now=NOW)
    assert "--call-off" not in str(told.value)


def refused_form(session: Session, delivery: Delivery) -> bool:
    return form_refusals.refused_form(
        session, delivery, owner="g", status=None, code="peer_rejected_object", reason="r", now=NOW
    )


def test_a_form_that_is_refused_is_called_off_and_another_takes_its_place(
    database: Database, objects: ObjectStore
) -> None:
    add(database)
    job_id = finished(database, objects)
    report(database, job_id, ObjectKind.SEG, ObjectKind.SR)
    with database.write() as session:
        batch = delivery_claims.claim(session, "pacs", TERMS, now=NOW)
        seg = next(one for one in batch if one.written.kind is ObjectKind.SEG)
        assert refused_form(session, seg)
    with database.read() as session:
        assert negotiations.find(session, "pacs").taken == {SEG_CLASS: ()}
        assert [one.job_id for one in reports.due(session, now=NOW)] == [job_id]
    report(database, job_id, ObjectKind.SC, ObjectKind.SR, choices=(DEPARTURE,))
    report(database, job_id, ObjectKind.SC, ObjectKind.SR, choices=(DEPARTURE,))
    assert states(database) == {
        ("pacs", ObjectKind.SEG): DeliveryState.CALLED_OFF,
        ("pacs", ObjectKind.SR): DeliveryState.SENDING,
        ("pacs", ObjectKind.SC): DeliveryState.PENDING,
    }
    assert tags(database, "report:") == ["report:reopened"]
    with database.read() as session:
        (event,) = audit.history(session, tag="forms:chosen")
    assert '"chosen":"SC,SR"' in event.details


def test_a_choice_that_changes_nothing_is_no_event(database: Database, objects: ObjectStore) -> None:
    add(database)
    job_id = finished(database, objects)
    report(database, job_id, ObjectKind.SC, ObjectKind.SR, choices=(DEPARTURE,))
    with database.write() as session:
        assert reports.reopened(session, job_id, destination="ris", code="form_not_taken", now=NOW)
        assert not reports.reopened(session, job_id, destination="ris", code="form_not_taken", now=NOW)
    report(database, job_id, ObjectKind.SC, ObjectKind.SR, choices=(DEPARTURE,))
    assert tags(database, "forms:") == ["forms:chosen"]


def test_what_waits_is_chosen_anew_once_a_peer_says_what_it_takes(database: Database, objects: ObjectStore) -> None:
    add(database)
    add(database, replace(PACS, name="other"))
    jobs = [finished(database, objects, number) for number in (1, 2)]
    report(database, jobs[0], ObjectKind.SEG, ObjectKind.SR)
    report(database, jobs[1], ObjectKind.SEG, ObjectKind.SR, to="other")
    with database.write() as session:
        negotiations.answered(session, "pacs", {SEG_CLASS: (), SR_CLASS: ("1.2.840.10008.1.2",)}, now=NOW)
        assert form_refusals.replan_untaken_forms(session, "pacs", now=NOW) == (jobs[0],)


def test_a_destination_of_the_settings_gets_nothing_in_place_of_what_it_refused(
    database: Database, objects: ObjectStore
) -> None:
    job_id = finished(database, objects)
    report(database, job_id, ObjectKind.SEG, to="PACS@10.0.0.1:104")
    with database.write() as session:
        (seg,) = delivery_claims.claim(session, "PACS@10.0.0.1:104", TERMS, now=NOW)
        assert not refused_form(session, seg)
        assert session.get_one(ReportRow, job_id).state == ReportState.WRITTEN.value


def test_a_peer_that_takes_nothing_at_all_is_asked_again_soon(database: Database) -> None:
    add(database)
    with database.write() as session:
        negotiations.answered(session, "pacs", {SEG_CLASS: (), SR_CLASS: ()}, now=NOW)
    with database.read() as session:
        assert negotiations.find(session, "pacs").is_due(NOW + timedelta(minutes=1))
