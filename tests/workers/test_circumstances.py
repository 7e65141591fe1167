"""What surrounds a decision, read from peers, headers and the record by a worker; policies change under it."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from pydicom import dcmread

from storage import analyses, audit, jobs, peers
from storage.care_settings import CareSetting
from storage.closing import SeenStudy
from storage.database import Database, utc_now
from storage.domain import Analysis, Priority
from storage.objects import ObjectStore
from storage.peers import PeerEntry
from storage.routes.file import load_routes
from storage.triage import policies
from storage.triage.case import Case
from storage.triage.policies import Change
from storage.triage.policy import Policy
from storage.triage.policy_file import load_policy, parse_policy
from tests.support.analysers import QuickAnalyser, ready_models
from tests.support.queued import queue_study, small_phantom, stored_instances
from tests.support.routing import head_series
from workers.queue.tasks import JobRunner, Outcome
from workers.resources import PipelineResources

SETTINGS = """
[default]
name = "elsewhere"
priority = "ROUTINE"
[[rules]]
name = "from emergency"
setting = "emergency"
priority = "STAT"
"""
EMERGENCY = parse_policy(SETTINGS.encode(), name="emergency.toml")
LOW = parse_policy(b'[default]\nname = "all"\npriority = "LOW"\n', name="low.toml")


@dataclass(frozen=True)
class Bench:
    """A worker's resources, and the files of a phantom that studies are made of."""

    database: Database
    objects: ObjectStore
    files: list[Path]

    def queue(self, number: int = 1, *, title: str = "CT1", **words: str) -> int:
        """Queue a study whose headers hold some words; return its job."""
        changed = [self._with_words(path, f"2.25.{number}", words) for path in self.files]
        instances = stored_instances(self.objects, changed, study_uid=f"2.25.{number}")
        uids = sorted({one.series_instance_uid for one in instances})
        series = tuple(replace(head_series(uid), calling_aets=frozenset({title})) for uid in uids)
        return queue_study(self.database, instances, calling_aet=title, whole=SeenStudy(load_routes(), series))

    def run(self, job_id: int, *, policy: Policy = EMERGENCY) -> Analysis:
        bench = PipelineResources(
            self.database, self.objects, ready_models({"zero-shot": QuickAnalyser()}), None, policy, 4
        )
        assert JobRunner(bench, "worker-1", lease_seconds=30).run(job_id) is Outcome.SUCCEEDED
        with self.database.read() as session:
            return analyses.load(session, job_id, self.objects)

    def _with_words(self, path: Path, study_uid: str, words: dict[str, str]) -> Path:
        header = dcmread(path)
        header.StudyInstanceUID = study_uid
        for keyword, text in words.items():
            setattr(header, keyword, text)
        target = path.parent.parent / study_uid / path.name
        target.parent.mkdir(exist_ok=True)
        header.save_as(target)
        return target


@pytest.fixture
def bench(sqlite_database: Database, objects: ObjectStore, tmp_path: Path) -> Bench:
    return Bench(sqlite_database, objects, list(small_phantom(tmp_path / "phantom").series_folder.iterdir()))


def _setting(analysis: Analysis) -> CareSetting | None:
    return Case.of_inputs(analysis.decision.inputs).circumstances.setting


def _peer(bench: Bench, name: str, setting: CareSetting | None) -> None:
    with bench.database.write() as session:
        peers.add(
            session,
            PeerEntry(name, "CT1", network=f"10.0.0.{len(name)}/32", care_setting=setting),
            actor="a",
            now=utc_now(),
        )


def test_the_order_in_the_header_says_the_setting_and_no_word_of_it_is_kept(bench: Bench) -> None:
    analysis = bench.run(bench.queue(CurrentPatientLocation="Notaufnahme Kabine 7"))
    assert _setting(analysis) is CareSetting.EMERGENCY
    assert (analysis.decision.priority, analysis.decision.rule) == (Priority.STAT, "from emergency")
    with bench.database.read() as session:
        told = [one.details for one in audit.history(session)]
    assert not any("Kabine" in text for text in (*told, analysis.decision.inputs))


def test_the_peer_says_the_setting_before_the_order_does(bench: Bench) -> None:
    _peer(bench, "ct", CareSetting.OUTPATIENT)
    assert _setting(bench.run(bench.queue(CurrentPatientLocation="ER"))) is CareSetting.OUTPATIENT
    _peer(bench, "ct-other", CareSetting.INPATIENT)
    assert _setting(bench.run(bench.queue(2, CurrentPatientLocation="ER"))) is CareSetting.EMERGENCY
    assert _setting(bench.run(bench.queue(3, title="MR1"))) is None


def test_a_stat_order_counts_at_the_top_of_the_header(bench: Bench) -> None:
    assert _setting(bench.run(bench.queue(RequestedProcedurePriority="STAT"))) is CareSetting.EMERGENCY


def test_inputs_hold_route_and_time_and_decide_the_same_again(bench: Bench) -> None:
    before = utc_now().replace(microsecond=0)
    analysis = bench.run(bench.queue(CurrentPatientLocation="Ward 3"), policy=load_policy())
    case = Case.of_inputs(analysis.decision.inputs)
    assert case.circumstances.decided_at is not None
    assert before <= case.circumstances.decided_at <= utc_now()
    assert (case.circumstances.route, case.lacking) == ("head-mr", frozenset())
    assert load_policy().decide(case) == analysis.decision


def test_a_promotion_counts_for_the_next_job_of_the_same_worker(bench: Bench) -> None:
    first = bench.run(bench.queue(1))
    with bench.database.write() as session:
        policies.promote(session, LOW, Change("Dr. Jones", "why not", utc_now()))
        policies.try_beside(session, EMERGENCY, Change("Dr. Jones", "trial", utc_now()))
    second = bench.run(bench.queue(2, CurrentPatientLocation="ER"))
    assert (first.decision.policy_name, second.decision.policy_name) == ("emergency", "low")
    assert (second.decision.priority, second.decision.policy_sha256) == (Priority.LOW, LOW.sha256)
    (tried,) = second.shadows
    assert (tried.priority, tried.rule, tried.policy_name) == (Priority.STAT, "from emergency", "emergency")


def test_the_file_of_the_settings_is_put_on_record_by_the_first_job(bench: Bench) -> None:
    bench.run(bench.queue(1))
    bench.run(bench.queue(2))
    with bench.database.read() as session:
        (recorded,) = policies.listed(session)
        (event,) = audit.history(session, tag="triage:configured")
    assert (recorded.name, recorded.sha256, json.loads(event.details)["name"]) == (
        "emergency",
        EMERGENCY.sha256,
        "emergency",
    )


def test_a_policy_on_record_that_cannot_be_read_fails_the_job_by_its_code(bench: Bench) -> None:
    from sqlalchemy import update

    from storage.triage.tables import TriagePolicyRow

    with bench.database.write() as session:
        policies.promote(session, LOW, Change("Dr. Jones", "why not", utc_now()))
        session.execute(update(TriagePolicyRow).values(content="[later]\n"))
    job_id = bench.queue(1)
    resources = PipelineResources(
        bench.database, bench.objects, ready_models({"zero-shot": QuickAnalyser()}), None, load_policy(), 4
    )
    assert JobRunner(resources, "worker-1", lease_seconds=30).run(job_id) is Outcome.FAILED
    with bench.database.read() as session:
        assert jobs.find(session, job_id).code == "policy_invalid"
