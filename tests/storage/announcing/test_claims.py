"""Messages that a gateway takes to send them, one of a channel at a time, on both databases."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy.orm import Session

from storage import circuits, processes
from storage.announcing import announcements, channels, claims
from storage.announcing.announcements import Failure
from storage.announcing.tables import ChannelKind
from storage.circuits import CircuitState
from storage.database import Database
from storage.domain import Priority
from storage.errors import ChannelBusy, IllegalTransition
from storage.objects import ObjectStore
from tests.support.announcing import (
    CHANNEL,
    LEASE_SECONDS,
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
)
from tests.support.records import NOW, queued_study

LATE = NOW + timedelta(seconds=LEASE_SECONDS + 1)


def urgent(database: Database, objects: ObjectStore, *numbers: int, priority: Priority = Priority.STAT) -> None:
    for number in numbers:
        analyse(database, objects, queued_study(database, number).job_id, priority)


def test_one_message_is_on_its_way_to_a_channel_at_a_time(database: Database, objects: ObjectStore) -> None:
    add_channel(database, kind=ChannelKind.HL7)
    add_channel(database, "other", ChannelKind.HL7)
    urgent(database, objects, 1, 2)
    first = taken(database)
    assert take(database, owner="gateway-2/1") is None
    assert taken(database, "other").channel.name == "other"
    with database.write() as session:
        announcements.sent(session, first, now=NOW)
    assert taken(database).announcements[0].study_id != first.announcements[0].study_id


def test_the_most_urgent_leaves_first(database: Database, objects: ObjectStore) -> None:
    add_channel(database, kind=ChannelKind.HL7)
    urgent(database, objects, 1, priority=Priority.HIGH)
    urgent(database, objects, 2, priority=Priority.STAT)
    assert [tell(database).announcements[0].priority for _ in range(2)] == [Priority.STAT, Priority.HIGH]


def test_what_a_dead_gateway_had_under_way_leaves_again_with_the_same_keys(
    database: Database, objects: ObjectStore
) -> None:
    add_channel(database)
    urgent(database, objects, 1, 2)
    first = taken(database)
    urgent(database, objects, 3)
    with database.write() as session:
        assert claims.release_lost(session, now=NOW) == 0
    with database.write() as session:
        assert claims.release_lost(session, now=LATE) == 2
    again = taken(database, owner="gateway-2/1", now=LATE)
    assert again.group_key == first.group_key
    assert [one.key for one in again.announcements] == [one.key for one in first.announcements]


def test_what_a_gateway_that_ended_had_under_way_need_not_wait_for_its_lease(
    database: Database, objects: ObjectStore
) -> None:
    add_channel(database)
    urgent(database, objects, 1)
    with database.write() as session:
        processes.start(session, "gateway-1", "gateway", now=NOW)
    taken(database, owner="gateway-1/1")
    with database.write() as session:
        processes.stop(session, "gateway-1", now=NOW)
    with database.write() as session:
        assert claims.has_lost(session, now=NOW)
        assert claims.release_lost(session, now=NOW) == 1


def test_an_answer_that_comes_after_another_gateway_took_over_settles_nothing(
    database: Database, objects: ObjectStore
) -> None:
    add_channel(database)
    urgent(database, objects, 1)
    slow = taken(database)
    with database.write() as session:
        claims.release_lost(session, now=LATE)
    taken(database, owner="gateway-2/1", now=LATE)
    with database.write() as session:
        announcements.refused(session, slow, Failure("no", "why"), now=LATE)
    assert told(database) == [("first", "sending", "STAT", None)]


def test_a_lease_that_is_renewed_is_not_lost(database: Database, objects: ObjectStore) -> None:
    add_channel(database)
    urgent(database, objects, 1)
    taken(database)
    with database.write() as session:
        claims.renew(session, ["gateway-1/1"], lease_seconds=LEASE_SECONDS, now=NOW + timedelta(seconds=30))
    with database.read() as session:
        assert not claims.has_lost(session, now=LATE)


def test_people_get_what_was_collected_in_one_message_and_records_get_each_alone(
    database: Database, objects: ObjectStore
) -> None:
    add_channel(database, "people", ChannelKind.MAIL, group_seconds=30)
    add_channel(database, "record", ChannelKind.HL7)
    urgent(database, objects, 1, 2, 3)
    assert take(database, "people", now=NOW + timedelta(seconds=29)) is None
    assert len(tell(database, "people", now=NOW + timedelta(seconds=30)).announcements) == 3
    assert [len(tell(database, "record").announcements) for _ in range(3)] == [1, 1, 1]


def test_a_group_of_which_one_was_overtaken_is_another_message(database: Database, objects: ObjectStore) -> None:
    add_channel(database)
    urgent(database, objects, 1, 2)
    first = taken(database)
    fail(database, first, reached=True)
    analyse(database, objects, 1, Priority.ROUTINE, now=LATE)
    again = taken(database, now=LATE)
    assert len(again.announcements) == 1
    assert again.group_key != first.group_key
    assert again.group_key == again.announcements[0].key


def test_a_group_that_is_refused_is_sent_one_by_one(database: Database, objects: ObjectStore) -> None:
    add_channel(database)
    urgent(database, objects, 1, 2)
    with database.write() as session:
        announcements.refused(session, take_in(session), Failure("http_400", "why"), now=NOW)
    bad = taken(database)
    assert len(bad.announcements) == 1
    with database.write() as session:
        announcements.refused(session, bad, Failure("http_400", "why"), now=NOW)
    tell(database)
    assert sorted(state for _, state, _, _ in told(database)) == ["refused", "sent"]
    assert events(database, "refused") == 1


def take_in(session: Session) -> claims.Claim:
    claim = claims.claim(session, CHANNEL, owner="g/1", lease_seconds=LEASE_SECONDS, now=NOW)
    assert claim is not None
    return claim


def test_a_channel_takes_so_many_messages_an_hour_and_the_rest_comes_together(
    database: Database, objects: ObjectStore
) -> None:
    add_channel(database, per_hour=2)
    for number in (1, 2):
        urgent(database, objects, number)
        tell(database, now=NOW + timedelta(minutes=number))
    urgent(database, objects, 3, 4)
    assert take(database, now=NOW + timedelta(minutes=60)) is None
    with database.read() as session:
        (waiting,) = claims.waiting(session, now=NOW + timedelta(minutes=60))
    assert waiting.due_at == NOW + timedelta(minutes=61)
    assert len(taken(database, now=NOW + timedelta(minutes=61)).announcements) == 2


def test_a_clock_that_was_set_back_does_not_shut_a_channel_off(database: Database, objects: ObjectStore) -> None:
    add_channel(database, per_hour=1)
    urgent(database, objects, 1)
    tell(database, now=NOW + timedelta(days=3))
    urgent(database, objects, 2)
    assert take(database) is not None


def test_a_receiver_that_cannot_be_reached_is_left_alone_with_all_that_waits(
    database: Database, objects: ObjectStore
) -> None:
    add_channel(database)
    urgent(database, objects, 1)
    fail(database, taken(database), reached=False, code="peer_unreachable")
    urgent(database, objects, 2)
    assert take(database, now=NOW + timedelta(seconds=4)) is None
    again = taken(database, now=NOW + timedelta(seconds=5))
    assert len(again.announcements) == 2  # it got nothing before, so both may leave together
    with database.write() as session:
        announcements.sent(session, again, now=NOW + timedelta(seconds=5))
    with database.read() as session:
        state = circuits.state_of(session, channels.circuit_of(CHANNEL), now=NOW + timedelta(seconds=5))
    assert state is CircuitState.CLOSED


def test_a_failure_that_repeats_is_one_event_and_nothing_is_given_up(database: Database, objects: ObjectStore) -> None:
    add_channel(database)
    urgent(database, objects, 1)
    moment = NOW
    for _ in range(20):
        fail(database, taken(database, now=moment), reached=True, now=moment)
        moment += timedelta(minutes=6)
    assert [(one.state, one.attempts) for one in outbox(database)] == [("pending", 20)]
    assert events(database, "failed") == 1


def test_a_paused_channel_is_told_nothing_until_it_is_resumed(database: Database, objects: ObjectStore) -> None:
    add_channel(database)
    urgent(database, objects, 1)
    for paused in (True, False):
        with database.write() as session:
            channels.set_paused(session, CHANNEL, paused=paused, actor="op", now=NOW)
        with database.read() as session:
            assert bool(claims.waiting(session, now=NOW)) is not paused
        assert (take(database) is None) is paused


def test_a_refused_announcement_can_be_sent_once_more_under_its_key(database: Database, objects: ObjectStore) -> None:
    add_channel(database)
    urgent(database, objects, 1)
    first = taken(database)
    with database.write() as session:
        announcements.refused(session, first, Failure("http_401", "why"), now=NOW)
    with database.write() as session:
        announcements.retry(session, first.announcements[0].id, actor="op", now=NOW)
    assert tell(database).group_key == first.group_key
    assert events(database, "retried") == 1


def test_what_does_not_hold_any_more_is_not_sent_once_more(database: Database, objects: ObjectStore) -> None:
    add_channel(database)
    urgent(database, objects, 1)
    claim = tell(database)
    analyse(database, objects, 1, Priority.ROUTINE, now=LATE)
    with database.write() as session, pytest.raises(IllegalTransition, match="does not hold"):
        announcements.retry(session, claim.announcements[0].id, actor="op", now=LATE)


def test_what_is_being_sent_cannot_be_called_off(database: Database, objects: ObjectStore) -> None:
    add_channel(database)
    urgent(database, objects, 1)
    claim = taken(database)
    with database.write() as session, pytest.raises(IllegalTransition):
        announcements.call_off(session, claim.announcements[0].id, actor="op", now=NOW)


def test_a_channel_is_removed_once_nothing_is_on_its_way_to_it(database: Database, objects: ObjectStore) -> None:
    entry = add_channel(database)
    urgent(database, objects, 1)
    with database.write() as session, pytest.raises(ChannelBusy, match="1 announcements"):
        channels.remove(session, CHANNEL, actor="op", now=NOW)
    with database.write() as session:
        assert announcements.call_off_channel(session, CHANNEL, actor="op", now=NOW) == 1
    with database.write() as session:
        channels.remove(session, CHANNEL, actor="op", now=NOW)
    assert [one.state for one in outbox(database)] == ["called_off"]
    with database.write() as session:
        channels.add(session, replace(entry, kind=ChannelKind.MAIL), actor="op", now=NOW)


def test_a_channel_that_is_changed_is_tried_at_once(database: Database, objects: ObjectStore) -> None:
    entry = add_channel(database)
    urgent(database, objects, 1)
    fail(database, taken(database), reached=False)
    assert take(database) is None
    with database.write() as session:
        channels.change(session, replace(entry, address="https://other.example/hook"), actor="op", now=NOW)
    assert taken(database).channel.address == "https://other.example/hook"


def test_keys_differ_between_channels_and_studies(database: Database, objects: ObjectStore) -> None:
    add_channel(database)
    add_channel(database, "other")
    urgent(database, objects, 1, 2)
    assert len(set(keys(database))) == 4
