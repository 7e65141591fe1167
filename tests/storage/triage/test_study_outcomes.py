from __future__ import annotations

import math
from datetime import datetime, timedelta

from storage.domain import Priority
from storage.triage.kept_decisions import KeptDecision, Verdict
from storage.triage.queue_model import UNDECIDED
from storage.triage.study_outcomes import StudyOutcomes
from tests.support.triage_history import BEGIN

STAT, HIGH, LOW = (Verdict(priority, "rule") for priority in (Priority.STAT, Priority.HIGH, Priority.LOW))


def kept(
    *, study: int = 1, analysed_at: datetime = BEGIN, arrived_at: datetime = BEGIN, counts: bool = True
) -> KeptDecision:
    return KeptDecision(
        job_id=1,
        study_id=study,
        route="head-mr",
        verdict=LOW,
        inputs="{}",
        analysed_at=analysed_at,
        arrived_at=arrived_at,
        is_withheld=False,
        counts=counts,
    )


def test_a_study_has_the_most_urgent_of_its_results_from_when_that_was_known() -> None:
    outcomes, later = StudyOutcomes(), BEGIN + timedelta(minutes=5)
    for one, verdict in ((kept(), LOW), (kept(analysed_at=later), HIGH)):
        outcomes.after.note(outcomes.study(one), one, verdict, says_something=True)
    told = outcomes.after.told()
    assert (list(told.rank), list(told.at)) == ([Priority.HIGH.rank], [later.timestamp()])


def test_a_result_without_findings_leads_a_study_only_alone() -> None:
    outcomes = StudyOutcomes()
    organs, lesions = kept(), kept()
    outcomes.after.note(outcomes.study(organs), organs, STAT, says_something=False)
    assert list(outcomes.after.told().rank) == [Priority.STAT.rank]
    outcomes.after.note(outcomes.study(lesions), lesions, LOW, says_something=True)
    assert list(outcomes.after.told().rank) == [Priority.LOW.rank]


def test_a_study_whose_results_do_not_hold_has_no_priority() -> None:
    outcomes, one = StudyOutcomes(), kept(counts=False)
    outcomes.after.note(outcomes.study(one), one, STAT, says_something=True)
    told = outcomes.after.told()
    assert (list(told.rank), list(told.at)) == ([UNDECIDED], [math.inf])
    assert outcomes.after.alarms[BEGIN.date()] == 1, "it did alarm when it was analysed"


def test_a_study_came_when_the_first_of_its_analyses_could_begin() -> None:
    outcomes, earlier = StudyOutcomes(), BEGIN - timedelta(hours=1)
    assert outcomes.study(kept()) == outcomes.study(kept(arrived_at=earlier)) == 0
    assert outcomes.study(kept(study=2)) == 1
    assert list(outcomes.arrived) == [earlier.timestamp(), BEGIN.timestamp()]
