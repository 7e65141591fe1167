"""Which announcements results call for, on both databases."""

from __future__ import annotations

from datetime import timedelta

import pytest

from storage import registering
from storage.announcing import announcements, escalating
from storage.announcing.tables import ChannelKind
from storage.arrivals import Origin, StudyFacts
from storage.database import Database
from storage.domain import Priority, StoredInstance
from storage.objects import ObjectStore
from tests.support.announcing import (
    add_channel,
    analyse,
    events,
    fail,
    keys,
    outbox,
    take,
    taken,
    tell,
    told,
    urgent_study,
)
from tests.support.records import EXPLICIT, MR_IMAGE, NOW, TWO_HEAD_ROUTES, closed_study, queued_study
from tests.support.routing import close_as_head

LATER = NOW + timedelta(minutes=1)


def test_a_channel_is_told_of_an_urgent_study_once(database: Database, objects: ObjectStore) -> None:
    add_channel(database)
    job = queued_study(database).job_id
    analyse(database, objects, job, Priority.STAT)
    assert told(database) == [("first", "pending", "STAT", None)]
    tell(database)
    with database.write() as session:
        announcements.note_result(session, 1, actor="op", now=LATER)
    assert told(database) == [("first", "sent", "STAT", None)]
    assert (events(database, "opened"), events(database, "sent")) == (1, 1)


def test_a_channel_is_told_of_results_that_come_after_it_was_added(database: Database, objects: ObjectStore) -> None:
    add_channel(database)
    job = queued_study(database).job_id
    analyse(database, objects, job, Priority.STAT)
    add_channel(database, "new")
    tell(database)
    assert told(database, "new") == []  # whatever another channel answers of the study
    analyse(database, objects, job, Priority.STAT, now=LATER)
    assert told(database, "new") == [("first", "pending", "STAT", None)]


@pytest.mark.parametrize("priority", [Priority.ROUTINE, Priority.LOW])
def test_a_channel_is_not_told_of_what_it_did_not_ask_for(
    database: Database, objects: ObjectStore, priority: Priority
) -> None:
    add_channel(database)
    analyse(database, objects, queued_study(database).job_id, priority)
    assert told(database) == []


def test_a_result_that_is_withheld_is_announced_to_nobody(database: Database, objects: ObjectStore) -> None:
    add_channel(database)
    analyse(database, objects, queued_study(database).job_id, Priority.STAT, withheld="unfamiliar")
    assert told(database) == []


def test_a_channel_that_was_told_is_told_that_the_study_is_not_urgent_any_more(
    database: Database, objects: ObjectStore
) -> None:
    add_channel(database)
    job = queued_study(database).job_id
    analyse(database, objects, job, Priority.STAT)
    tell(database)
    analyse(database, objects, job, Priority.ROUTINE, now=LATER)
    assert told(database)[1] == ("change", "pending", "ROUTINE", "STAT")
    tell(database, now=LATER)
    analyse(database, objects, job, Priority.LOW, now=LATER)
    assert len(told(database)) == 2  # neither is anything that it asked for


def test_one_that_was_told_nothing_is_told_nothing_and_what_waited_is_superseded(
    database: Database, objects: ObjectStore
) -> None:
    add_channel(database)
    job = queued_study(database).job_id
    analyse(database, objects, job, Priority.STAT)
    analyse(database, objects, job, Priority.ROUTINE, now=LATER)
    assert told(database) == [("first", "superseded", "STAT", None)]
    assert events(database, "superseded") == 1


def test_a_receiver_that_could_not_be_reached_was_told_nothing(database: Database, objects: ObjectStore) -> None:
    add_channel(database)
    job = queued_study(database).job_id
    analyse(database, objects, job, Priority.STAT)
    fail(database, taken(database), reached=False)
    analyse(database, objects, job, Priority.ROUTINE, now=LATER)
    assert told(database) == [("first", "superseded", "STAT", None)]


def test_a_receiver_that_broke_off_may_know_and_is_told_of_the_change(database: Database, objects: ObjectStore) -> None:
    add_channel(database)
    job = queued_study(database).job_id
    analyse(database, objects, job, Priority.STAT)
    fail(database, taken(database), reached=True)
    analyse(database, objects, job, Priority.ROUTINE, now=LATER)
    assert told(database) == [("first", "superseded", "STAT", None), ("change", "pending", "ROUTINE", "STAT")]


def test_a_receiver_that_may_know_of_one_result_is_told_of_the_next_for_certain(
    database: Database, objects: ObjectStore
) -> None:
    add_channel(database)
    job = queued_study(database).job_id
    analyse(database, objects, job, Priority.STAT)
    fail(database, taken(database), reached=True)
    analyse(database, objects, job, Priority.STAT, now=LATER)
    assert told(database) == [("first", "superseded", "STAT", None), ("first", "pending", "STAT", None)]


def test_people_are_not_told_twice_and_records_get_the_later_result(database: Database, objects: ObjectStore) -> None:
    add_channel(database, "people", ChannelKind.MAIL)
    add_channel(database, "record", ChannelKind.HL7, patient_data=True)
    job = queued_study(database).job_id
    analyse(database, objects, job, Priority.STAT)
    tell(database, "people")
    tell(database, "record")
    analyse(database, objects, job, Priority.STAT, now=LATER)
    assert len(told(database, "people")) == 1
    assert told(database, "record")[1] == ("change", "pending", "STAT", "STAT")


def test_what_comes_while_a_message_is_on_its_way_is_settled_when_that_has_ended(
    database: Database, objects: ObjectStore
) -> None:
    add_channel(database)
    job = queued_study(database).job_id
    analyse(database, objects, job, Priority.STAT)
    claim = taken(database)
    analyse(database, objects, job, Priority.ROUTINE, now=LATER)
    assert told(database) == [("first", "sending", "STAT", None)]
    with database.write() as session:
        announcements.sent(session, claim, now=LATER)
    assert told(database) == [("first", "sent", "STAT", None), ("change", "pending", "ROUTINE", "STAT")]


def test_results_of_other_routes_do_not_count_for_a_channel_of_one(database: Database, objects: ObjectStore) -> None:
    add_channel(database, routes=("tumour",))
    add_channel(database, "all")
    bleeding, tumour = closed_study(database, routes=TWO_HEAD_ROUTES).job_ids
    analyse(database, objects, bleeding, Priority.STAT)
    assert (told(database), told(database, "all")) == ([], [("first", "pending", "STAT", None)])
    analyse(database, objects, tumour, Priority.HIGH)
    assert told(database) == [("first", "pending", "HIGH", None)]
    assert len(told(database, "all")) == 1


def test_a_fact_that_holds_a_third_time_is_news_each_time(database: Database, objects: ObjectStore) -> None:
    add_channel(database)
    bleeding, tumour = closed_study(database, routes=TWO_HEAD_ROUTES).job_ids
    analyse(database, objects, tumour, Priority.HIGH)
    tell(database)
    for turn in range(1, 3):
        for priority in (Priority.STAT, Priority.ROUTINE):
            moment = NOW + timedelta(minutes=turn)
            analyse(database, objects, bleeding, priority, now=moment)
            tell(database, now=moment)
    assert [priority for _, _, priority, _ in told(database)] == ["HIGH", "STAT", "HIGH", "STAT", "HIGH"]
    assert len(set(keys(database))) == 5


def test_the_same_fact_goes_on_its_way_again_under_the_key_that_it_had(
    database: Database, objects: ObjectStore
) -> None:
    add_channel(database)
    bleeding, tumour = closed_study(database, routes=TWO_HEAD_ROUTES).job_ids
    analyse(database, objects, tumour, Priority.HIGH)
    analyse(database, objects, bleeding, Priority.STAT)
    analyse(database, objects, bleeding, Priority.ROUTINE, now=LATER)
    assert told(database) == [("first", "pending", "HIGH", None), ("first", "superseded", "STAT", None)]


def test_a_study_of_another_patient_loses_its_priority(database: Database, objects: ObjectStore) -> None:
    add_channel(database)
    study = queued_study(database)
    analyse(database, objects, study.job_id, Priority.STAT)
    tell(database)
    uid = study.study_instance_uid
    corrected = StoredInstance(uid, f"{uid}.1", f"{uid}.1.1", MR_IMAGE, EXPLICIT, "MR", "9" * 64, "8" * 64, 10)
    with database.write() as session:
        registering.register_instance(
            session, corrected, StudyFacts("SOMEBODY-ELSE"), origin=Origin("MODALITY", None), now=LATER
        )
    assert told(database)[1] == ("change", "pending", None, "STAT")
    with database.write() as session:
        again = close_as_head(session, 1, quiet_seconds=0, now=LATER)
    analyse(database, objects, again or study.job_id, Priority.STAT, now=LATER)
    assert len(told(database)) == 2  # the former patient's record is put right before anything else is said
    tell(database, now=LATER)
    assert told(database)[1:] == [("change", "sent", None, "STAT"), ("change", "pending", "STAT", None)]


def test_what_a_person_called_off_is_not_opened_again(database: Database, objects: ObjectStore) -> None:
    add_channel(database)
    analyse(database, objects, queued_study(database).job_id, Priority.STAT)
    with database.write() as session:
        announcements.call_off(session, outbox(database)[0].id, actor="op", now=NOW)
    with database.write() as session:
        announcements.note_result(session, 1, actor="op", now=LATER)
    assert told(database) == [("first", "called_off", "STAT", None)]


def test_a_channel_for_escalations_is_told_once_nobody_opened_the_study_in_time(
    database: Database, objects: ObjectStore
) -> None:
    add_channel(database, escalation_minutes=10)
    add_channel(database, "later", escalation_minutes=30)
    job = queued_study(database).job_id
    analyse(database, objects, job, Priority.STAT)
    assert told(database) == []
    for minutes, number in ((9, 0), (10, 1), (10, 1)):
        with database.write() as session:
            escalating.open_due(session, now=NOW + timedelta(minutes=minutes))
        assert len(told(database)) == number
    assert told(database) == [("escalation", "pending", "STAT", None)]
    assert told(database, "later") == []
    row = urgent_study(database)
    assert (row.escalations, row.escalate_at) == (1, NOW + timedelta(minutes=30))


def test_an_escalation_is_called_off_where_the_study_was_opened_before_it_left(
    database: Database, objects: ObjectStore
) -> None:
    add_channel(database, escalation_minutes=10)
    job = queued_study(database).job_id
    analyse(database, objects, job, Priority.STAT)
    late = NOW + timedelta(minutes=10)
    with database.write() as session:
        escalating.open_due(session, now=late)
    with database.write() as session:
        row = session.merge(urgent_study(database))
        row.opened_at = late
    assert take(database, now=late) is None
    assert [(one.state, one.code) for one in outbox(database)] == [("called_off", "study_opened")]
    assert events(database, "called-off") == 1


def test_a_channel_that_got_an_escalation_is_told_when_the_study_is_not_urgent_any_more(
    database: Database, objects: ObjectStore
) -> None:
    add_channel(database, escalation_minutes=10)
    job = queued_study(database).job_id
    analyse(database, objects, job, Priority.STAT)
    late = NOW + timedelta(minutes=10)
    with database.write() as session:
        escalating.open_due(session, now=late)
    tell(database, now=late)
    analyse(database, objects, job, Priority.ROUTINE, now=late)
    assert told(database)[1] == ("change", "pending", "ROUTINE", "STAT")
