"""When a study is closed, waited for, held or set aside, by a clock that the test turns, on both databases."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from dicom_gateway.completeness.rules import Rules
from dicom_gateway.config import AtDeadline
from storage import associations, processes, studies, study_arrivals
from storage.database import Database
from storage.errors import IllegalTransition, RecordMissing
from storage.objects import ObjectStore
from storage.states import StudyState
from tests.support.arriving import BEGUN, Arriving
from tests.support.find_scp import find_scp, series_answer
from tests.support.gateways import assembly

PENDING = 0xFF00
_PATIENT = Rules(quiet_seconds=10, deadline_seconds=600)
HOLDS = Rules(quiet_seconds=10, deadline_seconds=600, at_deadline=AtDeadline.HOLD)
SETS_ASIDE = Rules(quiet_seconds=10, deadline_seconds=600, at_deadline=AtDeadline.SET_ASIDE)
WAITS_FOR_TWO = """
version = 1
[[route]]
name = "liver"
analyser = "zero-shot"
match = { modality = ["CT"] }
wait_for = [{ modality = ["PT"] }]
"""


def _expect(place: Arriving, number: int) -> None:
    """Have the source of the first study answer with a number of images."""
    with place.database.write() as session:
        assert study_arrivals.ask(session, 1, asked_before=_asked(place), now=place.clock())
        study_arrivals.answered(session, 1, study_arrivals.SourceAnswer(number), now=place.clock())


def _asked(place: Arriving) -> datetime | None:
    with place.database.read() as session:
        known = study_arrivals.of_studies(session, [1])
    return known[1].asked_at if known else None


def test_a_quiet_study_is_closed_with_its_reason_on_record(database: Database, objects: ObjectStore) -> None:
    place = Arriving(database, objects)
    place.image()
    assert place.look(9) == pytest.approx(1.0)
    assert place.analyses() == 0
    place.look(1)
    (closed,) = (json.loads(one) for one in place.events("study:closed"))
    assert (closed["reason"], closed["quiet_seconds"], closed["instances"]) == ("quiet", 10.0, 1)


@pytest.mark.parametrize(("pause", "every"), [(11, 1), (15, 1), (45, 1), (100, 5), (290, 5)])
def test_images_that_trickle_in_slower_than_the_quiet_time_give_a_few_analyses(
    database: Database, objects: ObjectStore, pause: int, every: int
) -> None:
    place = Arriving(database, objects)
    for number in range(12):
        place.image(number)
        for _ in range(0, pause, every):
            place.look(every)
    place.look(900)
    assert place.entry().instances == 12
    assert place.entry().state is StudyState.QUEUED
    assert 1 < place.analyses() <= 4


def test_one_late_image_is_waited_for_no_longer_than_twice_as_long(database: Database, objects: ObjectStore) -> None:
    place = Arriving(database, objects)
    place.image(1)
    place.look(10)
    place.clock.turn(3000)
    place.image(2)
    place.look(19)
    assert place.analyses() == 1
    place.look(1)
    assert place.analyses() == 2


def test_late_images_of_another_day_are_no_trickle(database: Database, objects: ObjectStore) -> None:
    place = Arriving(database, objects)
    for number in range(5):
        place.image(number)
        place.look(20)
        place.clock.turn(86_400)
    assert place.analyses() == 5


def test_a_study_of_which_everything_is_there_is_closed_early(database: Database, objects: ObjectStore) -> None:
    place = Arriving(database, objects, query_address=lambda *_: "PACS@127.0.0.1:104")
    place.image(1)
    place.image(2)
    place.clock.turn(5)
    _expect(place, 2)
    place.look()
    assert json.loads(place.events("study:closed")[0])["reason"] == "expected_instances"


def test_a_study_of_which_its_source_holds_more_is_waited_for(database: Database, objects: ObjectStore) -> None:
    place = Arriving(database, objects, _PATIENT, lambda *_: "PACS@127.0.0.1:104")
    place.image(1)
    place.clock.turn(5)
    _expect(place, 3)
    for _ in range(20):
        place.look(10)
    assert place.analyses() == 0
    assert len(place.events("study:waiting")) == 1
    entry = place.entry()
    assert (entry.state, entry.code, entry.expected_instances) == (StudyState.RECEIVING, "expected_instances", 3)
    place.look(600)
    (closed,) = (json.loads(one) for one in place.events("study:closed"))
    assert (closed["reason"], closed["missing"], closed["expected"]) == ("deadline", "expected_instances", 3)
    assert place.entry().waits_for is None


def test_what_was_missing_closes_the_study_when_it_comes(database: Database, objects: ObjectStore) -> None:
    place = Arriving(database, objects, _PATIENT, lambda *_: "PACS@127.0.0.1:104")
    place.image(1)
    place.clock.turn(5)
    _expect(place, 2)
    place.look(60)
    place.image(2)
    place.clock.turn(5)
    _expect(place, 2)
    place.look()
    assert json.loads(place.events("study:closed")[0])["reason"] == "expected_instances"


def test_a_source_that_fails_is_on_record_once_and_holds_nothing_back(database: Database, objects: ObjectStore) -> None:
    def lies(query: Dataset) -> Iterator[tuple[int, Dataset | None]]:
        yield PENDING, series_answer(query, 1, instances="a thousand")

    with find_scp(lies) as source:
        place = Arriving(database, objects, query_address=lambda *_: str(source))
        place.image(1)
        place.clock.turn(5)
        place.ask()
        place.ask()
    assert [json.loads(one)["code"] for one in place.events("study:count-failed")] == ["source_answer_invalid"]
    place.look(5)
    assert json.loads(place.events("study:closed")[0])["reason"] == "quiet"


def test_a_source_is_asked_after_the_last_image_and_its_count_decides(database: Database, objects: ObjectStore) -> None:
    asked: list[str] = []

    def answers(query: Dataset) -> Iterator[tuple[int, Dataset | None]]:
        asked.append(query.QueryRetrieveLevel)
        yield PENDING, series_answer(query, 1, instances=2)
        yield PENDING, series_answer(query, 2, instances=1, modality="SR")

    with find_scp(answers) as source:
        place = Arriving(database, objects, _PATIENT, lambda _, title: str(source) if title == "CT1" else None)
        place.image(1)
        place.ask()
        assert asked == []
        place.clock.turn(5)
        place.ask()
        place.ask()
        assert asked == ["SERIES"]
        place.look(30)
        assert place.entry().waits_for == "expected_instances"
        place.image(2)
        place.clock.turn(5)
        place.ask()
        place.look()
    assert asked == ["SERIES"] * 2
    assert json.loads(place.events("study:closed")[0])["expected"] == 2


def test_a_question_that_nobody_answers_holds_a_study_back_for_a_while_only(
    database: Database, objects: ObjectStore
) -> None:
    place = Arriving(database, objects, query_address=lambda *_: "PACS@127.0.0.1:104")
    place.image()
    place.look(10)
    assert place.analyses() == 0
    place.look(15)
    assert place.analyses() == 1


def test_a_route_waits_for_the_series_that_it_names(database: Database, objects: ObjectStore, tmp_path: Path) -> None:
    path = tmp_path / "routes.toml"
    path.write_text(WAITS_FOR_TWO)
    place = Arriving(database, objects, _PATIENT)
    place.looks = assembly(database, objects, path, rules=_PATIENT, clock=place.clock)
    place.image(1, modality="CT", series="1")
    place.look(60)
    assert (place.analyses(), place.entry().code) == (0, "required_series")
    assert json.loads(place.events("study:waiting")[0])["routes_waiting"] == "liver"
    place.image(1, modality="PT", series="2")
    place.look(10)
    assert json.loads(place.events("study:closed")[0])["reason"] == "quiet"


def test_a_study_that_such_a_route_is_not_for_waits_for_nothing(
    database: Database, objects: ObjectStore, tmp_path: Path
) -> None:
    path = tmp_path / "routes.toml"
    path.write_text(WAITS_FOR_TWO)
    place = Arriving(database, objects)
    place.looks = assembly(database, objects, path, rules=_PATIENT, clock=place.clock)
    place.image(modality="MR")
    place.look(10)
    assert place.analyses() == 1


def test_a_study_that_is_held_is_analysed_when_it_is_released(database: Database, objects: ObjectStore) -> None:
    place = Arriving(database, objects, HOLDS, lambda *_: "PACS@127.0.0.1:104")
    place.image()
    place.clock.turn(5)
    _expect(place, 9)
    for _ in range(3):
        place.look(600)
    entry = place.entry()
    assert (entry.state, entry.code, place.analyses()) == (StudyState.HELD, "expected_instances", 0)
    assert len(place.events("study:held")) == 1
    with database.write() as session:
        study_arrivals.release(session, 1, actor="cli:me", now=place.clock())
    place.look()
    assert json.loads(place.events("study:closed")[0])["reason"] == "released"
    assert place.entry().state is StudyState.QUEUED


def test_a_study_that_is_held_is_analysed_when_the_rest_comes(database: Database, objects: ObjectStore) -> None:
    place = Arriving(database, objects, HOLDS, lambda *_: "PACS@127.0.0.1:104")
    place.image(1)
    place.clock.turn(5)
    _expect(place, 2)
    place.look(7200)
    assert place.entry().state is StudyState.HELD
    place.image(2)
    place.clock.turn(10)
    _expect(place, 2)
    place.look()
    assert place.entry().state is StudyState.QUEUED


def test_a_study_that_was_set_aside_is_analysed_when_it_is_released(database: Database, objects: ObjectStore) -> None:
    place = Arriving(database, objects, SETS_ASIDE, lambda *_: "PACS@127.0.0.1:104")
    place.image()
    place.clock.turn(5)
    _expect(place, 9)
    place.look(600)
    assert (place.entry().state, place.analyses()) == (StudyState.SET_ASIDE, 0)
    assert len(place.events("study:set-aside")) == 1
    with database.write() as session:
        study_arrivals.release(session, 1, actor="cli:me", now=place.clock())
    place.look()
    assert (place.entry().state, place.entry().revision) == (StudyState.QUEUED, 1)


def test_a_late_image_takes_up_a_study_that_was_set_aside(database: Database, objects: ObjectStore) -> None:
    place = Arriving(database, objects, SETS_ASIDE, lambda *_: "PACS@127.0.0.1:104")
    place.image(1)
    place.clock.turn(5)
    _expect(place, 9)
    place.look(600)
    place.image(2)
    assert (place.entry().state, place.entry().revision) == (StudyState.RECEIVING, 2)


def test_a_study_that_is_sent_without_an_end_is_analysed_at_its_deadline(
    database: Database, objects: ObjectStore
) -> None:
    place = Arriving(database, objects, _PATIENT)
    for number in range(130):
        place.image(number)
        place.look(5)
    assert json.loads(place.events("study:closed")[0])["reason"] == "deadline"
    assert place.analyses() == 1


def test_what_is_complete_or_not_there_cannot_be_released(database: Database, objects: ObjectStore) -> None:
    place = Arriving(database, objects)
    place.image()
    place.look(10)
    with database.write() as session, pytest.raises(IllegalTransition, match="complete"):
        study_arrivals.release(session, 1, actor="cli:me", now=place.clock())
    with database.write() as session, pytest.raises(RecordMissing):
        study_arrivals.release(session, 99, actor="cli:me", now=place.clock())


def test_a_study_whose_routes_are_asked_again_waits_for_nothing(database: Database, objects: ObjectStore) -> None:
    place = Arriving(database, objects, HOLDS, lambda *_: "PACS@127.0.0.1:104")
    place.image()
    place.clock.turn(5)
    _expect(place, 1)
    place.look()
    with database.write() as session:
        studies.reroute(session, 1, actor="cli:me", now=place.clock())
    place.look()
    assert place.analyses() == 2


def test_a_clock_that_is_set_back_keeps_no_study_open(database: Database, objects: ObjectStore) -> None:
    place = Arriving(database, objects)
    place.image()
    place.look(-7200)
    place.look(9)
    assert place.analyses() == 0
    place.look(1)
    assert place.analyses() == 1


def test_quiet_times_are_learned_from_each_sender_and_modality(database: Database, objects: ObjectStore) -> None:
    rules = Rules(quiet_seconds=10, learns=True, quiet_least_seconds=4, quiet_most_seconds=60)
    place = Arriving(database, objects, rules)
    for study in range(5):
        for number in range(3):
            place.image(number, study=f"1.2.{study}", sender="SLOW", modality="MR")
            place.image(number, study=f"1.3.{study}", sender="FAST", modality="CT")
            place.clock.turn(9)
        place.look(60)
    place.image(study="1.2.99", sender="SLOW", modality="MR")
    place.image(study="1.3.99", sender="FAST", modality="US")
    place.look(13)
    told = [json.loads(one)["quiet_seconds"] for one in place.events("study:closed")]
    assert told[:10] == [10.0] * 10
    assert told[10:] == [10.0]
    place.look(1)
    assert [json.loads(one)["quiet_seconds"] for one in place.events("study:closed")][11:] == [13.5]


def test_learned_quiet_times_stay_within_their_bounds(database: Database, objects: ObjectStore) -> None:
    rules = Rules(quiet_seconds=10, learns=True, quiet_least_seconds=4, quiet_most_seconds=20)
    place = Arriving(database, objects, rules)
    for study in range(5):
        for _ in range(2):
            place.image(study, study=f"1.2.{study}", sender="QUICK")
        place.look(60)
    place.image(study="1.2.99", sender="QUICK")
    place.look(4)
    assert json.loads(place.events("study:closed")[-1])["quiet_seconds"] == 4.0


def test_an_association_that_went_on_to_another_study_holds_the_first_one_no_longer_than_a_minute(
    database: Database, objects: ObjectStore
) -> None:
    place = Arriving(database, objects)
    with database.write() as session:
        processes.start(session, "gateway-1", "gateway", now=BEGUN)
        opened = associations.opened(
            session, process_id="gateway-1", calling_aet="PACS", called_aet="US", remote_address="::1", now=BEGUN
        )
    place.image(1, study="1.2")
    place.image(1, study="1.3")
    for study_id, seconds in ((1, 0), (2, 30), (2, 61)):
        place.clock.now = BEGUN + timedelta(seconds=seconds)
        with database.write() as session:
            associations.sends(session, opened, study_id, now=place.clock())
            processes.beat(session, "gateway-1", now=place.clock())
        place.look()
    assert [one.state for one in map(place.entry, (1, 2))] == [StudyState.QUEUED, StudyState.RECEIVING]
