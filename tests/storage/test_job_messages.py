"""Jobs that lack a few-shot task wait, say so, and go on when an adapter is promoted. On both databases."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from storage import audit, job_lists, job_messages, jobs, worklist
from storage.database import Database
from storage.fewshot import promotions
from storage.routes.file import parse_routes
from storage.states import JobState
from tests.support.classification import DRAFT, FAILING, PASSING, judge, new_adapter, new_task
from tests.support.records import NOW, queued_study

ROUTES = parse_routes(
    b"""version = 1
[[route]]
name = "texture"
analyser = "label"
task = "texture"
match = {modality = ["MR"]}
[[route]]
name = "whatever-fits"
analyser = "label"
match = {modality = ["MR"]}
""",
    name="routes.toml",
)
LATER = NOW + timedelta(minutes=5)


def due(database: Database) -> list[int]:
    with database.read() as session:
        return [job.id for job in job_messages.publishable(session, now=LATER)]


def codes(database: Database) -> list[str | None]:
    with database.read() as session:
        (entry,) = worklist.studies(session)
        listed = [job.code for job in reversed(worklist.listed_jobs(session))]
    assert [one.code for one in entry.analyses] == listed
    return listed


def promote(database: Database, name: str = "texture", *, passing: bool = True, after: timedelta = LATER - NOW) -> None:
    with database.write() as session:
        task = new_task(session, replace(DRAFT, name=name))
        adapter = new_adapter(session, task)
        judge(session, task, adapter, PASSING if passing else FAILING)
        promotions.promote(session, task, adapter, overrides=(), reason="", actor="test", now=NOW + after)


def let_wait(database: Database, job_id: int) -> None:
    """Have a worker find that nothing fits, as it does for a route that names no task."""
    with database.write() as session:
        held = jobs.claim(session, job_id, owner="worker-1", lease_seconds=60, now=NOW)
        assert held is not None
        jobs.postpone(session, held, code="task_not_promoted", reason="none fits", now=NOW)


def test_a_job_waits_for_its_task_visibly_and_is_due_once_an_adapter_is_promoted(database: Database) -> None:
    queued_study(database, routes=ROUTES)
    assert due(database) == [2]
    assert codes(database) == ["task_not_promoted", None]
    promote(database)
    assert due(database) == [1, 2]
    assert codes(database) == [None, None]


@pytest.mark.parametrize(("name", "passing"), [("texture", False), ("another", True)])
def test_a_refused_promotion_or_one_of_another_task_lets_nothing_go(
    database: Database, name: str, passing: bool
) -> None:
    queued_study(database, routes=ROUTES)
    promote(database, name, passing=passing)
    assert due(database) == [2]
    assert codes(database)[0] == "task_not_promoted"


def test_a_job_for_which_nothing_fitted_waits_unharmed_until_the_next_promotion(database: Database) -> None:
    queued_study(database, routes=ROUTES)
    promote(database, "earlier", after=-timedelta(minutes=1))
    assert due(database) == [2]
    let_wait(database, 2)
    assert due(database) == []
    assert codes(database) == ["task_not_promoted", "task_not_promoted"]
    with database.read() as session:
        job = job_lists.find(session, 2)
        assert audit.history(session, subject="job/2")[-1].tag == "job:postponed"
    assert (job.state, job.attempts, job.lease_owner) == (JobState.QUEUED, 0, None)
    promote(database, "another")
    assert due(database) == [2]
