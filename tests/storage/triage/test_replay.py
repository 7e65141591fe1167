from __future__ import annotations

import json
import tracemalloc
from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from storage.database import Database
from storage.domain import Presence, Priority
from storage.models import JobRow
from storage.objects import ObjectStore
from storage.progress import unheard
from storage.result_tables import AnalysisRow
from storage.triage.case import Fact
from storage.triage.kept_decisions import Span
from storage.triage.policy import Policy
from storage.triage.policy_file import load_policy, parse_policy
from storage.triage.queue_model import Reading
from storage.triage.replay import compare, replay
from storage.triage.replay_tally import Positives, ReplayResult, Tally
from tests.support.triage_history import BEGIN, DrawnStudy, drawn_studies, put_on_trial, record_history

ALL = Span(BEGIN)
CALM = b"""
[default]
name = "the rest"
priority = "ROUTINE"

[[rules]]
name = "sure and large"
presence = "present"
minimum_confidence = 0.8
minimum_volume_ml = 2.0
priority = "STAT"

[[rules]]
name = "sure"
presence = "present"
minimum_confidence = 0.8
priority = "HIGH"
"""
BY_SETTING = b"""
[default]
name = "the rest"
priority = "ROUTINE"

[[rules]]
name = "anything present"
presence = "present"
priority = "HIGH"

[[rules]]
name = "emergency"
setting = "emergency"
priority = "STAT"
"""


def calm() -> Policy:
    return parse_policy(CALM, name="calm.toml")


def a_tally(**positives: object) -> Tally:
    return Tally(Positives(**positives), Reading(readers=1, minutes_per_study=35))  # type: ignore[arg-type]  # any field


def replayed(
    database: Database, after: Policy, *, before: Policy | None = None, span: Span = ALL, tally: Tally | None = None
) -> ReplayResult:
    with database.read() as session:
        return replay(session, span, tally or a_tally(), after=after, before=before, on_progress=unheard)


def priorities(studies: tuple[DrawnStudy, ...], policy: Policy) -> list[Priority]:
    return [policy.decide(study.case()).priority for study in studies]


def test_a_thousand_studies_are_decided_again_and_each_move_is_counted(
    database: Database, objects: ObjectStore
) -> None:
    studies, progress = drawn_studies(1000), []
    record_history(database, objects, studies)
    with database.read() as session:
        result = replay(
            session, ALL, a_tally(), after=calm(), before=None, on_progress=lambda *done: progress.append(done)
        )
    old, new = priorities(studies, load_policy()), priorities(studies, calm())
    assert result.moved == Counter(zip(old, new, strict=True))
    assert (result.analyses, result.studies, result.unreadable) == (1000, 1000, 0)
    assert result.up == sum(after.rank < before.rank for before, after in zip(old, new, strict=True)) > 0
    assert result.down == sum(after.rank > before.rank for before, after in zip(old, new, strict=True)) > 0
    assert result.up + result.down + result.unchanged == 1000
    assert progress[0] == (1, 1000)
    assert progress[-1] == (1000, 1000)


def test_rules_are_counted_with_what_moved_by_them(database: Database, objects: ObjectStore) -> None:
    studies = drawn_studies(200)
    record_history(database, objects, studies)
    result = replayed(database, calm())
    said = [calm().decide(study.case()) for study in studies]
    assert {one.rule: one.analyses for one in result.rules_after} == Counter(one.rule for one in said)
    assert [one.priority for one in result.rules_after] == [Priority.STAT, Priority.HIGH, Priority.ROUTINE]
    assert sum(one.up for one in result.rules_after) == sum(one.up for one in result.rules_before) == result.up
    assert sum(one.down for one in result.rules_after) == sum(one.down for one in result.rules_before) == result.down


def test_the_policy_that_decided_moves_nothing_and_lets_everybody_wait_as_long(
    database: Database, objects: ObjectStore
) -> None:
    record_history(database, objects, drawn_studies(300))
    result = replayed(database, load_policy())
    assert (result.up, result.down, result.unchanged) == (0, 0, 300)
    assert all(day.before == day.after for day in result.days)
    assert result.waiting_before == result.waiting_after
    assert result.rules_before == result.rules_after


def test_nothing_on_record_is_changed(database: Database, objects: ObjectStore) -> None:
    def rows() -> list[tuple[object, ...]]:
        with database.read() as session:
            query = select(AnalysisRow.__table__).order_by(AnalysisRow.job_id)
            return [tuple(row) for row in session.execute(query)]

    record_history(database, objects, drawn_studies(50))
    before = rows()
    replayed(database, calm())
    assert rows() == before


def test_two_policies_are_held_against_each_other_whatever_was_decided(
    database: Database, objects: ObjectStore
) -> None:
    studies = drawn_studies(100)
    record_history(database, objects, studies, policy=calm())
    result = replayed(database, calm(), before=load_policy())
    pairs = zip(priorities(studies, load_policy()), priorities(studies, calm()), strict=True)
    assert result.moved == Counter(pairs)


def test_only_what_was_analysed_in_the_span_counts(database: Database, objects: ObjectStore) -> None:
    studies = drawn_studies(200)
    record_history(database, objects, studies)
    span = Span(BEGIN + timedelta(days=10), BEGIN + timedelta(days=12))
    inside = [study for study in studies if span.since <= study.analysed_at < BEGIN + timedelta(days=12)]
    assert replayed(database, calm(), span=span).analyses == len(inside) > 0
    assert replayed(database, calm(), span=Span(BEGIN + timedelta(days=90))).analyses == 0


def test_alarms_are_the_stat_and_high_studies_of_each_day(database: Database, objects: ObjectStore) -> None:
    studies = drawn_studies(300)
    record_history(database, objects, studies)
    result = replayed(database, calm())

    def alarms(policy: Policy) -> Counter[object]:
        urgent = (Priority.STAT, Priority.HIGH)
        decided = zip(studies, priorities(studies, policy), strict=True)
        return Counter(
            study.analysed_at.date() for study, priority in decided if priority in urgent and not study.withheld
        )

    assert {day.day: day.before for day in result.days if day.before} == alarms(load_policy())
    assert {day.day: day.after for day in result.days if day.after} == alarms(calm())
    assert [day.day for day in result.days] == [
        result.days[0].day + timedelta(days=number) for number in range(len(result.days))
    ]


def test_a_study_with_two_urgent_results_alarms_once_a_day(database: Database, objects: ObjectStore) -> None:
    studies = drawn_studies(60)
    record_history(database, objects, studies, policy=calm())
    first, second = [study for study in studies[1:] if _is_alarm(study)][:2]
    with database.write() as session:
        study_id, job_id = (10_000 + study.number for study in (first, second))
        session.execute(update(JobRow).where(JobRow.id == job_id).values(study_id=study_id, route="other"))
        at = first.analysed_at + timedelta(seconds=1)
        session.execute(update(AnalysisRow).where(AnalysisRow.job_id == job_id).values(analysed_at=at))
    result = replayed(database, calm())
    assert (result.analyses, result.studies) == (60, 59)
    assert sum(day.after for day in result.days) == sum(map(_is_alarm, studies)) - 1


def _is_alarm(study: DrawnStudy) -> bool:
    return calm().decide(study.case()).priority in (Priority.STAT, Priority.HIGH) and not study.withheld


def test_what_is_withheld_alarms_nobody_and_is_read_as_routine(database: Database, objects: ObjectStore) -> None:
    studies = tuple(replace(study, withheld="unlike_training_data") for study in drawn_studies(100))
    record_history(database, objects, studies)
    result = replayed(database, calm())
    assert result.analyses == 100
    assert all(day.before == day.after == 0 for day in result.days)
    assert result.waiting_before == result.waiting_first_come
    assert result.waiting_before.positive.studies == 0


def test_a_superseded_result_moves_but_says_nothing_of_how_long_its_study_waits(
    database: Database, objects: ObjectStore
) -> None:
    record_history(database, objects, drawn_studies(100))
    with database.write() as session:
        session.execute(update(AnalysisRow).values(superseded_at=BEGIN))
    result = replayed(database, calm())
    assert result.analyses == 100
    assert result.waiting_after == result.waiting_first_come


def test_positive_studies_wait_less_by_priority_than_first_come(database: Database, objects: ObjectStore) -> None:
    studies = drawn_studies(1000)
    record_history(database, objects, studies)
    result = replayed(database, load_policy())
    found = [study for study in studies if not study.withheld and _is_positive(study)]
    assert result.waiting_before.positive.studies == len(found)
    assert result.waiting_before.other.studies == 1000 - len(found)
    by_priority, first_come = result.waiting_before.positive, result.waiting_first_come.positive
    assert by_priority.median_minutes is not None
    assert first_come.median_minutes is not None
    assert by_priority.median_minutes < first_come.median_minutes


def _is_positive(study: DrawnStudy) -> bool:
    return any(one.presence is Presence.PRESENT and one.confidence >= 0.5 for one in study.findings)


@pytest.mark.parametrize(("least", "labels", "positive"), [(0.5, (), 1), (0.95, (), 0), (0.95, ("covid",), 1)])
def test_what_counts_as_positive_is_said_by_whoever_asks(
    sqlite_database: Database, objects: ObjectStore, least: float, labels: tuple[str, ...], positive: int
) -> None:
    study = next(one for one in drawn_studies(200) if _is_positive(one) and not one.withheld and one.confidence < 0.9)
    labelled = replace(study, findings=tuple(replace(one, label="covid") for one in study.findings))
    record_history(sqlite_database, objects, (labelled,))
    tally = a_tally(minimum_confidence=least, labels=frozenset(labels))
    assert replayed(sqlite_database, calm(), tally=tally).waiting_after.positive.studies == positive


def test_inputs_of_earlier_versions_are_decided_and_what_they_lack_is_counted_where_it_was_asked(
    database: Database, objects: ObjectStore
) -> None:
    studies = drawn_studies(50)
    record_history(database, objects, studies)
    with database.write() as session:
        for row in session.scalars(select(AnalysisRow)):
            kept = json.loads(row.policy_inputs)
            for newer in ("route", "setting", "decided_at", "earlier"):
                kept.pop(newer, None)
            row.policy_inputs = json.dumps(kept)
    result = replayed(database, parse_policy(BY_SETTING, name="setting.toml"))
    asked = sum(all(one.presence is not Presence.PRESENT for one in study.findings) for study in studies)
    assert result.lacking == {Fact.SETTING: asked}
    assert result.analyses == 50
    assert replayed(database, calm()).lacking == {}


@pytest.mark.parametrize("inputs", ["{}", "not JSON", "[]", '{"findings": [{"number": 1}], "lane": "stat"}'])
def test_inputs_that_are_none_are_counted_and_decided_by_nothing(
    sqlite_database: Database, objects: ObjectStore, inputs: str
) -> None:
    record_history(sqlite_database, objects, drawn_studies(10))
    with sqlite_database.write() as session:
        session.execute(update(AnalysisRow).where(AnalysisRow.job_id == 10_003).values(policy_inputs=inputs))
    result = replayed(sqlite_database, calm())
    assert (result.analyses, result.unreadable) == (9, 1)


@pytest.mark.slow
def test_a_long_history_is_read_in_pages(sqlite_database: Database, objects: ObjectStore) -> None:
    record_history(sqlite_database, objects, drawn_studies(2500))
    with sqlite_database.write() as session:
        longer = AnalysisRow.policy_inputs.op("||")(" " * 20_000)
        session.execute(update(AnalysisRow).values(policy_inputs=longer))
    tracemalloc.start()
    try:
        assert replayed(sqlite_database, calm()).analyses == 2500
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 30_000_000, "all inputs together are 50 MB"


def test_a_policy_on_trial_is_compared_by_what_it_said_of_what_it_saw(database: Database, objects: ObjectStore) -> None:
    record_history(database, objects, drawn_studies(700))
    put_on_trial(database, calm(), CALM, name="calm")
    with database.read() as session:
        compared = compare(session, ALL, a_tally(), shadow_sha256=calm().sha256, on_progress=unheard)
        unseen = compare(session, ALL, a_tally(), shadow_sha256="f" * 64, on_progress=unheard)
    assert compared == replayed(database, calm())
    assert unseen.analyses == 0
