"""Jobs of several routes in one worker whose memory holds one model, and one whose files were changed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from storage import analyses, job_lists, job_messages, processes, site_models, worklist
from storage.database import Database, utc_now
from storage.domain import Analysis, StoredInstance
from storage.objects import ObjectStore
from storage.processes import Served
from storage.routes.file import parse_routes
from storage.states import JobState
from tests.support.installed_models import install_model, remove_model
from tests.support.queued import queue_study, small_phantom, stored_instances
from tests.support.routing import head_series, seen
from workers.config import WorkerSettings
from workers.pipeline import analyse
from workers.queue.tasks import JobRunner, Outcome
from workers.resources import open_resources

SIZED = {name: f"tests.support.analysers:build_{name}" for name in ("bright", "dark")}
ROUTE = """
[[route]]
name = "{name}"
analyser = "{name}"
match = {{ modality = ["MR"] }}
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return list(small_phantom(tmp_path_factory.mktemp("phantom")).series_folder.iterdir())


def queue_for(database: Database, instances: list[StoredInstance], number: int, *, analyser: str) -> int:
    mine = [replace(one, study_instance_uid=f"2.25.{number}") for one in instances]
    routes = parse_routes(("version = 1\n" + ROUTE.format(name=analyser)).encode(), name="routes.toml")
    series = replace(head_series(mine[0].series_instance_uid), sop_class_uids=frozenset({mine[0].sop_class_uid}))
    return queue_study(database, mine, whole=seen(series, routes=routes))


def runner_of(database: Database, objects: ObjectStore, state: Path, **settings: object) -> JobRunner:
    chosen = {"analysers": SIZED, "classify": False, "guard": False, "device": "cpu", "dtype": "float32", **settings}
    worker = WorkerSettings.model_validate(chosen)
    resources = open_resources(worker, database, objects, actor="worker-1", state=state)
    return JobRunner(resources, "worker-1", lease_seconds=30)


def test_two_models_with_memory_for_one_take_turns_and_both_routes_get_their_results(
    sqlite_database: Database, objects: ObjectStore, files: list[Path], tmp_path: Path
) -> None:
    runner = runner_of(sqlite_database, objects, tmp_path, memory_megabytes=5)
    instances = stored_instances(objects, files, study_uid="2.25.1")
    wanted = ("bright", "dark", "bright", "bright", "dark")
    queued = [queue_for(sqlite_database, instances, number, analyser=name) for number, name in enumerate(wanted, 1)]
    with capture_logs() as events:
        assert [runner.run(job_id) for job_id in queued] == [Outcome.SUCCEEDED] * 5
    loaded = [event["model"] for event in events if event["event"] == "model.loaded"]
    evicted = [event["model"] for event in events if event["event"] == "model.evicted"]
    assert (loaded, evicted) == (["bright", "dark", "bright", "dark"], ["dark", "bright", "dark", "bright"])
    with sqlite_database.read() as session:
        names = [analyses.load(session, job_id, objects).algorithm.name for job_id in queued]
    assert tuple(names) == wanted
    assert runner.resources.models.megabytes == 4.0


def test_a_model_whose_files_changed_fails_its_jobs_while_those_of_other_routes_go_on(
    sqlite_database: Database, objects: ObjectStore, files: list[Path], tmp_path: Path
) -> None:
    runner = runner_of(sqlite_database, objects, tmp_path)
    install_model(sqlite_database, tmp_path, "liver")
    (site_models.folder(tmp_path, "liver") / "model.pt").write_bytes(b"changed")
    instances = stored_instances(objects, files, study_uid="2.25.1")
    wanted = ("liver", "bright", "liver", "dark")
    queued = [queue_for(sqlite_database, instances, number, analyser=name) for number, name in enumerate(wanted, 1)]
    outcomes = [runner.run(job_id) for job_id in queued]
    assert outcomes == [Outcome.FAILED, Outcome.SUCCEEDED, Outcome.FAILED, Outcome.SUCCEEDED]
    with sqlite_database.read() as session:
        failed = job_lists.find(session, queued[0])
    assert (failed.state, failed.code, failed.attempts) == (JobState.FAILED, "weights_mismatch", 1)
    assert failed.reason is not None
    assert failed.reason.startswith("model.pt of model liver was changed since the model was added")


def test_a_worker_hands_back_the_job_of_a_model_that_it_does_not_serve(
    sqlite_database: Database, objects: ObjectStore, files: list[Path], tmp_path: Path
) -> None:
    runner = runner_of(sqlite_database, objects, tmp_path, serves=("dark",))
    instances = stored_instances(objects, files, study_uid="2.25.1")
    queued = [queue_for(sqlite_database, instances, n, analyser=name) for n, name in enumerate(("bright", "dark"), 1)]
    assert [runner.run(job_id) for job_id in queued] == [Outcome.NOT_CLAIMED, Outcome.SUCCEEDED]
    assert runner.resources.models.megabytes == 4.0


def test_a_job_whose_model_was_just_removed_is_not_sent_to_the_same_worker_again(
    sqlite_database: Database, objects: ObjectStore, files: list[Path], tmp_path: Path
) -> None:
    runner = runner_of(sqlite_database, objects, tmp_path)
    install_model(sqlite_database, tmp_path, "liver")
    instances = stored_instances(objects, files, study_uid="2.25.1")
    job_id = queue_for(sqlite_database, instances, 1, analyser="liver")
    with sqlite_database.write() as session:
        serves = [Served("default", name) for name in runner.resources.serves]
        processes.start(session, "worker-1", "worker", now=utc_now(), serves=serves)
        (due,) = job_messages.publishable(session, served=processes.served(session), now=utc_now())
        job_messages.published(session, due.id, now=utc_now())
    remove_model(sqlite_database, "liver")
    assert runner.run(job_id) is Outcome.NOT_CLAIMED
    with sqlite_database.read() as session:
        served = processes.served(session)
        assert job_messages.publishable(session, served=served, now=utc_now()) == ()
        (job,) = worklist.listed_jobs(session)
    families = {
        Served("default", f"family-{name}") for name in ("body-ct", "breast-us", "head-mr", "limb-mr", "lung-ct", "pet")
    }
    assert served == {Served("default", "bright"), Served("default", "dark"), *families}
    assert (job.code, job.attempts) == ("no_worker_for_route", 0)


def test_a_job_whose_model_is_removed_while_it_is_in_hand_waits_for_the_next_one(
    sqlite_database: Database, objects: ObjectStore, files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = runner_of(sqlite_database, objects, tmp_path)
    install_model(sqlite_database, tmp_path, "liver")
    job_id = queue_for(sqlite_database, stored_instances(objects, files, study_uid="2.25.1"), 1, analyser="liver")

    def analyse_later(*arguments: Any, **named: Any) -> Analysis:
        remove_model(sqlite_database, "liver")
        return analyse(*arguments, **named)

    monkeypatch.setattr("workers.queue.tasks.analyse", analyse_later)
    assert runner.run(job_id) is Outcome.HANDED_BACK
    with sqlite_database.read() as session:
        job = job_lists.find(session, job_id)
    assert (job.state, job.code, job.attempts) == (JobState.QUEUED, None, 0)
    assert runner.run(job_id) is Outcome.NOT_CLAIMED
