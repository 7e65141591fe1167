"""What a worker knows, and what of it it takes, as its settings and the models of its site say."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import ValidationError
from structlog.testing import capture_logs

from storage import processes, site_models
from storage.database import Database, utc_now
from storage.objects import ObjectStore
from storage.processes import Served
from storage.states import JobState
from tests.support.installed_models import install_model, remove_model
from tests.support.pool import work_floor
from workers.analysers import FamilyAnalyser
from workers.config import WorkerSettings
from workers.errors import CodeRefused, NoAnalyser, WeightsMismatch
from workers.known_models import KnownModels
from workers.resources import open_resources

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
FAMILIES = {
    "family-pet",
    "family-limb-mr",
    "family-body-ct",
    "family-lung-ct",
    "family-head-mr",
    "family-breast-us",
}
"""What is shipped, and known without any setting."""
QUICK = {"zero-shot": "tests.support.analysers:build_quick"}


@pytest.fixture
def known(sqlite_database: Database, tmp_path: Path) -> KnownModels:
    return KnownModels(WorkerSettings(analysers=QUICK, device="cpu", dtype="float32"), sqlite_database, tmp_path)


def serving(known: KnownModels, *names: str) -> KnownModels:
    return replace(known, settings=known.settings.model_copy(update={"serves": names}))


def test_a_worker_knows_its_settings_and_whatever_is_added(known: KnownModels) -> None:
    assert known.names() == {"zero-shot", *FAMILIES}
    install_model(known.database, known.state, "liver")
    assert known.names() == {"zero-shot", "liver", *FAMILIES}
    remove_model(known.database, "liver")
    assert known.names() == {"zero-shot", *FAMILIES}


def test_a_worker_takes_only_what_it_serves(known: KnownModels) -> None:
    install_model(known.database, known.state, "liver")
    assert serving(known, "liver").names() == {"liver"}
    assert serving(known, "zero-shot", "lung").names() == {"zero-shot"}
    assert serving(known, "zero-shot", "lung").unknown() == {"lung"}
    assert serving(known).names() == frozenset()


def test_a_family_is_loaded_when_it_is_asked_for(known: KnownModels) -> None:
    analyser = known.source("family-pet").load()
    assert isinstance(analyser, FamilyAnalyser)
    assert analyser.segmenter.family.name == "pet"


def test_a_worker_with_weights_of_its_own_knows_the_families_that_lie_there(known: KnownModels, tmp_path: Path) -> None:
    (tmp_path / "weights" / "families" / "pet").mkdir(parents=True)
    settings = known.settings.model_copy(update={"models": tmp_path / "weights"})
    assert replace(known, settings=settings).names() == {"zero-shot", "family-pet"}
    with pytest.raises(WeightsMismatch, match=r"no manifest\.json in pet"):
        replace(known, settings=settings).source("family-pet").load()


def test_a_model_added_anew_is_another_one(known: KnownModels) -> None:
    install_model(known.database, known.state, "liver")
    before = known.source("liver")
    remove_model(known.database, "liver")
    with pytest.raises(NoAnalyser, match=r"it has: family-body-ct, .*, zero-shot"):
        known.source("liver")
    install_model(known.database, known.state, "liver", b"others")
    after = known.source("liver")
    assert before.identity != after.identity
    assert after.megabytes == pytest.approx(6e-6)


def test_an_installed_model_is_hashed_when_it_is_loaded_and_runs_no_code_unasked(known: KnownModels) -> None:
    install_model(known.database, known.state, "liver")
    with pytest.raises(CodeRefused, match="allow_code"):
        known.source("liver").load()
    (site_models.folder(known.state, "liver") / "model.pt").write_bytes(b"changed")
    with pytest.raises(WeightsMismatch, match=r"model\.pt of model liver was changed"):
        known.source("liver").load()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"serves": ("Liver CT",)}, "'Liver CT' is no name"),
        ({"serves": ("label",), "classify": False}, "needs classify = true"),
    ],
)
def test_settings_that_contradict_themselves_are_refused(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        WorkerSettings.model_validate(settings)


def test_a_worker_says_at_its_start_which_names_it_does_not_know(
    sqlite_database: Database, objects: ObjectStore, tmp_path: Path
) -> None:
    settings = WorkerSettings(analysers=QUICK, serves=("zero-shot", "liver"), classify=False, guard=False)
    with capture_logs() as events:
        resources = open_resources(settings, sqlite_database, objects, actor="worker-1", state=tmp_path)
    (warned,) = [event for event in events if event["event"] == "worker.unknown_models"]
    assert (warned["serves"], warned["known"]) == (["liver"], ["zero-shot"])
    assert resources.serves == {"zero-shot"}
    install_model(sqlite_database, tmp_path, "liver")
    assert resources.serves == {"zero-shot", "liver"}


@pytest.mark.peer
@pytest.mark.slow
def test_a_running_worker_serves_what_is_added_and_no_longer_what_is_removed(tmp_path: Path) -> None:
    with work_floor(tmp_path) as floor:
        floor.start_relay()
        floor.start_worker()
        floor.wait_for_worker()

        def served() -> set[str]:
            with floor.database.read() as session:
                return {one.analyser for one in processes.served(session, now=utc_now())}

        floor.wait_until(lambda: served() == {"zero-shot", *FAMILIES})
        install_model(floor.database, tmp_path, "liver")
        floor.wait_until(lambda: served() == {"zero-shot", "liver", *FAMILIES})
        remove_model(floor.database, "liver")
        floor.wait_until(lambda: served() == {"zero-shot", *FAMILIES})
        job_id = floor.queue()
        floor.wait_for_state(job_id, JobState.SUCCEEDED)


def test_what_a_process_serves_is_on_record_each_time_it_changes(database: Database) -> None:
    from storage import audit

    head, liver = Served("default", "zero-shot"), Served("default", "liver")
    with database.write() as session:
        processes.start(session, "worker-1", "worker", now=NOW, serves=[head])
        for serves in ([head], [liver, head], [head, liver], [head]):
            processes.beat(session, "worker-1", now=NOW, serves=serves)
    with database.read() as session:
        told = [json.loads(event.details)["serves"] for event in audit.history(session, tag="process:changed")]
        assert processes.served(session) == {head}
    assert told == ["liver, zero-shot", "zero-shot"]
