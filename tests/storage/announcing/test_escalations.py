"""Which channel is told next of a study that nobody opens: by minutes, once each, from several gateways."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

import pytest

from storage import audit
from storage.announcing import escalations, unopened_studies, urgent_studies
from storage.announcing.tables import AnnouncementRow, AnnouncementState, ChannelRow, OpenedThrough, UrgentStudyRow
from storage.database import Database
from storage.domain import Priority
from storage.objects import ObjectStore
from tests.support.records import NOW, TWO_HEAD_ROUTES, closed_study, queued_study
from tests.support.urgent import analyse, announce_escalation, waiting_channel


def later(minutes: float) -> datetime:
    return NOW + timedelta(minutes=minutes)


def escalate(database: Database, *, at: datetime) -> list[tuple[int, str]]:
    """Do what a gateway does; return which channels were told of which studies."""
    with database.write() as session:
        found = escalations.due(session, now=at)
        for one in found:
            row = session.get_one(UrgentStudyRow, one.urgent_id)
            announce_escalation(session, row, one.channel, now=at)
            escalations.escalated(session, one, now=at)
    return [(one.study_id, one.channel) for one in found]


def next_step(database: Database) -> tuple[str, datetime] | None:
    with database.read() as session:
        (one, *_) = unopened_studies.pending(session)
    return (one.next_step.channel, one.next_step.at) if one.next_step else None


def test_channels_are_told_by_their_minutes_and_once_each(database: Database, objects: ObjectStore) -> None:
    waiting_channel(database, "second", 15)
    waiting_channel(database, "first", 5)
    analyse(database, objects, queued_study(database).job_id, now=NOW)
    assert next_step(database) == ("first", later(5))
    assert escalate(database, at=later(4.9)) == []
    assert escalate(database, at=later(5)) == [(1, "first")]
    assert next_step(database) == ("second", later(15))
    assert escalate(database, at=later(14)) == []
    assert escalate(database, at=later(16)) == [(1, "second")]
    assert next_step(database) is None
    assert escalate(database, at=later(600)) == []
    with database.read() as session:
        events = audit.history(session, tag="study:escalated")
        (one,) = unopened_studies.pending(session)
    assert [json.loads(event.details)["channel"] for event in events] == ["first", "second"]
    assert one.escalations == 2


def test_after_a_pause_of_the_gateway_all_that_are_due_are_told_at_once(
    database: Database, objects: ObjectStore
) -> None:
    waiting_channel(database, "first", 5)
    waiting_channel(database, "second", 15)
    analyse(database, objects, queued_study(database).job_id, now=NOW)
    assert escalate(database, at=later(60)) == [(1, "first"), (1, "second")]
    assert escalate(database, at=later(61)) == []


def test_channels_that_knew_already_are_not_asked_about_again(database: Database, objects: ObjectStore) -> None:
    waiting_channel(database, "first", 5)
    waiting_channel(database, "second", 6)
    waiting_channel(database, "third", 90)
    analyse(database, objects, queued_study(database).job_id, now=NOW)
    with database.write() as session:
        assert [one.channel for one in escalations.due(session, now=later(60))] == ["first", "second"]
    with database.write() as session:
        assert escalations.due(session, now=later(61)) == ()
    assert escalate(database, at=later(90))[-1] == (1, "third")


def test_nobody_is_told_of_a_study_that_was_opened_or_is_urgent_no_more(
    database: Database, objects: ObjectStore
) -> None:
    waiting_channel(database, "first", 5)
    closed = closed_study(database, 1)
    analyse(database, objects, closed.job_ids[0], now=NOW)
    with database.write() as session:
        urgent_studies.opened(session, 1, by="web/anna", through=OpenedThrough.CONSOLE, now=later(1))
    assert escalate(database, at=later(60)) == []


def test_channels_of_other_routes_or_priorities_and_paused_ones_are_passed_over(
    database: Database, objects: ObjectStore
) -> None:
    waiting_channel(database, "paused", 1, paused=True)
    waiting_channel(database, "liver", 2, routes="liver,lung")
    waiting_channel(database, "high-only", 3, priorities="HIGH")
    waiting_channel(database, "mine", 4, routes="tumour,bleeding", priorities="STAT")
    closed = closed_study(database, routes=TWO_HEAD_ROUTES)
    analyse(database, objects, closed.job_ids[0], now=NOW)
    assert next_step(database) == ("mine", later(4))
    assert escalate(database, at=later(10)) == [(1, "mine")]


def test_a_raised_priority_does_not_start_the_wait_anew(database: Database, objects: ObjectStore) -> None:
    waiting_channel(database, "first", 10)
    closed = closed_study(database, routes=TWO_HEAD_ROUTES)
    analyse(database, objects, closed.job_ids[0], now=NOW, priority=Priority.HIGH)
    analyse(database, objects, closed.job_ids[1], now=later(9), priority=Priority.STAT)
    assert escalate(database, at=later(10)) == [(1, "first")]


def test_a_channel_that_comes_or_goes_is_reckoned_with(database: Database, objects: ObjectStore) -> None:
    analyse(database, objects, queued_study(database).job_id, now=NOW)
    assert next_step(database) is None
    waiting_channel(database, "new", 20)
    with database.write() as session:
        escalations.reschedule(session, now=later(1))
    assert next_step(database) == ("new", later(20))
    with database.write() as session:
        session.query(ChannelRow).delete()
    assert escalate(database, at=later(30)) == [], "nobody is told through a channel that is gone"
    assert next_step(database) is None


def test_a_new_channel_is_not_told_of_what_lies_unopened_for_days(database: Database, objects: ObjectStore) -> None:
    analyse(database, objects, queued_study(database).job_id, now=NOW)
    waiting_channel(database, "new", 20)
    with database.write() as session:
        escalations.reschedule(session, now=NOW + timedelta(days=2))
    assert escalate(database, at=NOW + timedelta(days=2)) == []


def test_what_a_later_result_overtook_is_told_again(database: Database, objects: ObjectStore) -> None:
    waiting_channel(database, "first", 5)
    analyse(database, objects, queued_study(database).job_id, now=NOW)
    assert escalate(database, at=later(5)) == [(1, "first")]
    with database.write() as session:
        session.query(AnnouncementRow).update({"state": AnnouncementState.SUPERSEDED.value})
        escalations.reschedule(session, now=later(6))
    with database.write() as session:
        assert [one.channel for one in escalations.due(session, now=later(7))] == ["first"]


def test_two_gateways_do_not_both_tell(database: Database, objects: ObjectStore) -> None:
    waiting_channel(database, "first", 5)
    analyse(database, objects, queued_study(database).job_id, now=NOW)
    if database.engine.dialect.name == "sqlite":  # its writers queue: the second looks when the first is done
        assert [escalate(database, at=later(5)), escalate(database, at=later(5))] == [[(1, "first")], []]
        return
    with database.write() as one:
        held = escalations.due(one, now=later(5))
        assert escalate(database, at=later(5)) == []
        row = one.get_one(UrgentStudyRow, held[0].urgent_id)
        announce_escalation(one, row, held[0].channel, now=later(5))
        escalations.escalated(one, held[0], now=later(5))
    assert escalate(database, at=later(5)) == []


def test_a_gateway_that_dies_before_it_commits_tells_nobody_and_the_next_one_does(
    database: Database, objects: ObjectStore
) -> None:
    waiting_channel(database, "first", 5)
    analyse(database, objects, queued_study(database).job_id, now=NOW)
    with pytest.raises(RuntimeError):
        _escalate_and_die(database, at=later(5))
    assert escalate(database, at=later(5)) == [(1, "first")]


def _escalate_and_die(database: Database, *, at: datetime) -> None:
    with database.write() as session:
        for one in escalations.due(session, now=at):
            escalations.escalated(session, one, now=at)
        raise RuntimeError
