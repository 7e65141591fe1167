"""Sources and studies on their way, on both databases: what is wanted, when it is due, who has it, what comes of it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from storage import audit, processes
from storage.backoff import no_jitter
from storage.database import Database
from storage.errors import FetchSourceBusy, FetchSourceInvalid, IllegalTransition, LeaseLost, RecordExists
from storage.fetching import claims, sources, studies, transitions
from storage.fetching.hours import Hours
from storage.fetching.sources import FetchSource, FetchWay
from storage.fetching.studies import FetchedStudy, OfferedStudy
from storage.fetching.wanted import Wanted
from storage.history.sentences import told
from storage.states import FetchState

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SOURCE = FetchSource("pacs", "PACS@10.0.0.5:104", FetchWay.MOVE, every_seconds=600, settle_seconds=60)
UID = "1.2.3"


def _added(database: Database, source: FetchSource = SOURCE) -> None:
    with database.write() as session:
        sources.add(session, source, actor="cli:anna", now=NOW)


def _offered(database: Database, stated: int | None = 5, *, now: datetime = NOW) -> int:
    with database.write() as session:
        return studies.note_offers(session, "pacs", [OfferedStudy(UID, stated)], now=now)


def _counted(database: Database, instances: int, *, now: datetime) -> FetchedStudy:
    with database.write() as session:
        study = studies.find(session, "pacs", UID)
        studies.counted(session, study.id, instances, settle_seconds=60, now=now)
        return studies.find(session, "pacs", UID)


def _claimed(database: Database, *, now: datetime, source: FetchSource = SOURCE) -> FetchedStudy | None:
    with database.write() as session:
        return claims.claim(session, source, owner="gateway-1", lease_seconds=300, now=now)


def _after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def test_a_study_is_due_once_its_count_stood_still(database: Database) -> None:
    _added(database)
    assert _offered(database) == 1
    assert _counted(database, 3, now=NOW).state is FetchState.SETTLING
    assert _counted(database, 5, now=_after(61)).state is FetchState.SETTLING
    assert _counted(database, 5, now=_after(100)).state is FetchState.SETTLING
    assert _counted(database, 5, now=_after(122)).state is FetchState.DUE


def test_a_revision_is_never_fetched_twice(database: Database) -> None:
    _added(database)
    _offered(database)
    _counted(database, 5, now=NOW)
    _counted(database, 5, now=_after(61))
    study = _claimed(database, now=_after(61))
    assert study is not None
    with database.write() as session:
        claims.came(session, study.id, "gateway-1", here=5, now=_after(70))
    assert _offered(database, 5, now=_after(600)) == 0
    assert _offered(database, None, now=_after(700)) == 1
    assert _counted(database, 5, now=_after(701)).state is FetchState.FETCHED
    assert _offered(database, 6, now=_after(800)) == 1


def test_a_lease_ends_with_its_gateway_and_nobody_else_concludes(database: Database) -> None:
    _added(database)
    with database.write() as session:
        processes.start(session, "gateway-1", "gateway", now=NOW)
    _offered(database)
    _counted(database, 5, now=NOW)
    _counted(database, 5, now=_after(61))
    study = _claimed(database, now=_after(61))
    assert study is not None
    assert _claimed(database, now=_after(62)) is None
    with database.write() as session, pytest.raises(LeaseLost):
        claims.came(session, study.id, "gateway-2", here=5, now=_after(70))
    with database.write() as session:
        assert claims.release_lost(session, now=_after(200)) == 1
    again = _claimed(database, now=_after(200))
    assert again is not None
    assert again.attempts == 2


def test_what_does_not_come_is_given_up_after_some_tries_and_comes_again_by_hand(database: Database) -> None:
    _added(database)
    _offered(database)
    _counted(database, 5, now=NOW)
    _counted(database, 5, now=_after(61))
    now = _after(61)
    for _ in range(studies.MOST_ATTEMPTS):
        study = _claimed(database, now=now)
        assert study is not None
        with database.write() as session:
            claims.failed(session, study.id, "gateway-1", "fetched_in_part", "2 of 5", draw=no_jitter, now=now)
        now += timedelta(hours=1)
    with database.write() as session:
        given_up = studies.find(session, "pacs", UID)
        assert (given_up.state, given_up.code) == (FetchState.FAILED, "fetched_in_part")
        assert studies.want(session, "pacs", UID, actor="cli:anna", now=now)
        assert studies.find(session, "pacs", UID).state is FetchState.SETTLING


def test_hours_and_rate_hold_a_source_back(database: Database) -> None:
    night = Hours.parse("20:00-06:00")
    assert night.opens_at(NOW) == NOW.replace(hour=20)
    assert night.opens_at(NOW.replace(hour=23)) == NOW.replace(hour=23)
    assert night.opens_at(NOW.replace(hour=5)) == NOW.replace(hour=5)
    slow = FetchSource("pacs", "PACS@10.0.0.5:104", FetchWay.GET, studies_per_hour=1)
    _added(database, slow)
    with database.write() as session:
        for uid in ("1.1", "1.2"):
            studies.want(session, "pacs", uid, actor="cli:anna", now=NOW)
            wanted = studies.find(session, "pacs", uid)
            studies.counted(session, wanted.id, 1, settle_seconds=0, now=NOW)
    study = _claimed(database, now=NOW, source=slow)
    assert study is not None
    with database.write() as session:
        claims.came(session, study.id, "gateway-1", here=1, now=NOW)
    assert _claimed(database, now=_after(3599), source=slow) is None
    assert _claimed(database, now=_after(3601), source=slow) is not None


def test_one_turn_at_a_time_and_a_wish_meanwhile_is_kept(database: Database) -> None:
    _added(database)
    with database.write() as session:
        turn = sources.take_turn(session, "pacs", now=NOW, hold_seconds=120)
        assert turn is not None
        assert sources.take_turn(session, "pacs", now=NOW, hold_seconds=120) is None
        sources.ask_now(session, "pacs", actor="cli:anna", now=_after(1))
        sources.answered(session, "pacs", turn=turn, now=_after(2))
        assert sources.find(session, "pacs").next_ask_at == _after(1)


def test_entries_are_kept_apart_and_removed_with_what_waits(database: Database) -> None:
    _added(database)
    with database.write() as session, pytest.raises(RecordExists):
        sources.add(session, SOURCE, actor="cli:anna", now=NOW)
    _offered(database)
    _counted(database, 5, now=NOW)
    _counted(database, 5, now=_after(61))
    study = _claimed(database, now=_after(61))
    assert study is not None
    with database.write() as session, pytest.raises(FetchSourceBusy):
        sources.remove(session, "pacs", actor="cli:anna", now=NOW)
    with database.write() as session:
        claims.came(session, study.id, "gateway-1", here=5, now=_after(70))
        sources.remove(session, "pacs", actor="cli:anna", now=NOW)
        assert sources.listed(session) == ()
        assert [one.state for one in studies.listed(session)] == [FetchState.FETCHED]


def test_a_prior_that_somebody_wants_is_one_no_more(database: Database) -> None:
    _added(database)
    with database.write() as session:
        studies.want(session, "pacs", UID, actor="fetching", now=NOW, is_prior=True)
        assert studies.is_prior(session, UID)
        studies.want(session, "pacs", UID, actor="cli:anna", now=NOW)
        assert not studies.is_prior(session, UID)
        *_, event = audit.history(session)
    assert (event.tag, event.actor, event.study) == ("fetch:wanted", "cli:anna", UID)
    assert told(event) == "cli:anna wants the study for itself, and not as an earlier one of its patient"


def test_the_way_of_a_study_from_its_source_is_told_in_sentences(database: Database) -> None:
    _added(database)
    _offered(database)
    _counted(database, 5, now=NOW)
    _counted(database, 5, now=_after(60))
    with database.write() as session:
        assert claims.claim(session, SOURCE, owner="gateway-1", lease_seconds=300, now=_after(60)) is not None
        claims.failed(session, 1, "gateway-1", "retrieval_refused", "it said no", draw=no_jitter, now=_after(61))
    with database.read() as session:
        assert [told(event) for event in audit.history(session) if event.study == UID] == [
            "The study is to come from pacs, once it grows no more there",
            "The study is to be fetched from pacs: 5 images",
            "Its images are coming from pacs, attempt 1",
            "The study is to be fetched from pacs: 5 images",
        ]


def test_a_source_that_goes_says_how_many_studies_are_not_fetched(database: Database) -> None:
    _added(database)
    _offered(database)
    with database.write() as session:
        sources.remove(session, "pacs", actor="cli:anna", now=NOW)
        *_, event = audit.history(session)
    assert event.tag == "fetch-source:removed"
    assert json.loads(event.details)["forgotten"] == 1


@pytest.mark.parametrize("state", list(FetchState))
def test_every_state_has_its_steps(state: FetchState) -> None:
    assert state not in transitions.ALLOWED[state]


def test_a_step_that_is_none_is_refused(database: Database) -> None:
    _added(database)
    _offered(database)
    with database.write() as session:
        row = studies.locked(session, studies.find(session, "pacs", UID).id)
        assert row is not None
        with pytest.raises(IllegalTransition):
            transitions.step(session, row, FetchState.FETCHING, now=NOW)


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("StudyDate=today", "20260301"),
        ("StudyDate=yesterday", "20260228"),
        ("StudyDate=-2d..", "20260227-"),
        ("StudyDate=-7d..yesterday", "20260222-20260228"),
        ("StudyDate=..20260101", "-20260101"),
        ("StudyDate=20260101", "20260101"),
    ],
)
def test_days_move_along(text: str, asked: str) -> None:
    assert Wanted.parse((text,)).at(NOW) == {"StudyDate": asked}


@pytest.mark.parametrize("text", ["PatientName=X", "StudyDate", "StudyDate=soon", "StudyID=", "StudyID=a\\b"])
def test_filters_that_cannot_be_are_refused(text: str) -> None:
    with pytest.raises(FetchSourceInvalid):
        Wanted.parse((text,))


@pytest.mark.parametrize("text", ["8-9", "24:00-01:00", "10:00-10:00", ""])
def test_hours_that_cannot_be_are_refused(text: str) -> None:
    with pytest.raises(FetchSourceInvalid):
        Hours.parse(text)
