"""What policies on trial say is kept beside the decision, and told in its event."""

from __future__ import annotations

import json
from dataclasses import replace

from storage import analyses, audit, jobs
from storage.database import Database
from storage.domain import Priority, TriageDecision
from storage.objects import ObjectStore
from storage.triage import policies
from storage.triage.policies import Change
from storage.triage.policy_file import load_policy, parse_policy
from tests.support.records import NOW, queued_study, result, save_result

NIGHT = parse_policy(b'[default]\nname = "quiet"\npriority = "LOW"\n', name="night.toml")


def _tried(priority: Priority = Priority.LOW) -> TriageDecision:
    return TriageDecision(priority, "quiet", NIGHT.sha256, "{}", "night")


def test_what_a_shadow_said_is_loaded_and_told_with_the_decision(database: Database, objects: ObjectStore) -> None:
    queued = queued_study(database)
    with database.write() as session:
        policies.try_beside(session, NIGHT, Change("Dr. Jones", "trial", NOW))
        policies.keep_configured(session, load_policy(), actor="worker-1", now=NOW)
    decision = TriageDecision(Priority.HIGH, "lesion", load_policy().sha256, "{}")
    analysis = replace(result(objects), decision=decision, shadows=(_tried(),))
    save_result(database, objects, queued.job_id, analysis)
    with database.read() as session:
        loaded = analyses.load(session, queued.job_id, objects)
        (event,) = audit.history(session, tag="study:prioritised")
    assert loaded.shadows == (_tried(),)
    assert (loaded.decision.rule, loaded.decision.policy_name) == ("lesion", "shipped")
    told = json.loads(json.loads(event.details)["shadows"])
    assert told == [{"name": "night", "policy": NIGHT.sha256, "priority": "LOW", "rule": "quiet"}]


def test_a_job_that_is_tried_again_keeps_what_is_said_then(database: Database, objects: ObjectStore) -> None:
    queued = queued_study(database)
    with database.write() as session:
        policies.try_beside(session, NIGHT, Change("Dr. Jones", "trial", NOW))
    save_result(database, objects, queued.job_id, replace(result(objects), shadows=(_tried(),), withheld="why"))
    with database.write() as session:
        jobs.retry(session, queued.job_id, actor="operator", now=NOW)
    again = replace(result(objects), shadows=(_tried(Priority.STAT),), withheld="why")
    save_result(database, objects, queued.job_id, again)
    with database.read() as session:
        assert analyses.load(session, queued.job_id, objects).shadows == (_tried(Priority.STAT),)


def test_without_a_trial_the_event_names_none(database: Database, objects: ObjectStore) -> None:
    save_result(database, objects, queued_study(database).job_id, result(objects))
    with database.read() as session:
        (event,) = audit.history(session, tag="study:prioritised")
    assert "shadows" not in json.loads(event.details)
