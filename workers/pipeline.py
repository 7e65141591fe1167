"""Analyse what one route wants of a study: from stored instances to mask, findings, decision, pictures, by stages."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from storage import jobs, routings, series, studies
from storage.database import Database
from storage.domain import (
    Analysis,
    Finding,
    FrameRef,
    LabelMap,
    Lane,
    Presence,
    Segmentation,
    StageTiming,
    StoredInstance,
    TriageDecision,
    Volume,
)
from storage.objects import ObjectStore
from storage.routes.route import Route, Unfamiliar
from storage.routes.series_facts import SeriesFacts
from storage.sop_kinds import is_image
from workers.analysers import AbortCheck, Analyser, build_analysers, pick_analyser, with_prompt
from workers.config import WorkerSettings
from workers.errors import TwoPatients
from workers.imaging.best_volume import build_best
from workers.imaging.instances import read_headers
from workers.imaging.series import LeftOut, SelectionRules, SeriesRef, choose_series
from workers.lesions import MOST_LESIONS, Classifiers, Lesions, find_lesions, label_findings
from workers.pictures import draw_overlays, keep_panels
from workers.triage import Case, Policy, load_policy

UNFAMILIAR = "unlike_training_data"
"""Why a result is on record and not sent: its input is farther from the training data than the route allows."""


@dataclass(frozen=True, slots=True)
class PipelineResources:
    """What the stages of a job use: opened and loaded once per process, kept warm between jobs."""

    database: Database
    objects: ObjectStore
    analysers: Mapping[str, Analyser]
    classifiers: Classifiers | None
    policy: Policy
    overlay_slices: int = 12

    @property
    def serves(self) -> frozenset[str]:
        """The analysers that routes may ask for here."""
        return frozenset(self.analysers)


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a job asks for: a route, by which file, and the stored instances of the series that it wants."""

    route: Route
    routes_sha256: str
    lane: Lane
    instances: tuple[StoredInstance, ...]


class Stopwatch:
    """Measures the wall time of each stage, in the order in which they ran."""

    def __init__(self) -> None:
        self._timings: list[StageTiming] = []

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the block under a name."""
        started = time.perf_counter()
        yield
        self._timings.append(StageTiming(name, round(time.perf_counter() - started, 4)))

    @property
    def timings(self) -> tuple[StageTiming, ...]:
        """The stages that have ended."""
        return tuple(self._timings)


def analyse(
    resources: PipelineResources, held: jobs.Claim, *, check: AbortCheck, watch: Stopwatch | None = None
) -> Analysis:
    """Return the analysis that a claimed job asks for; nothing of it is in the database yet.

    Pictures and attention map are put into the object store. ``check`` is called between stages. Every OncueError
    that the stages raise ends the attempt with its code.
    """
    watch = watch or Stopwatch()
    with watch.stage("load"):
        assignment = _load(resources, held)
        scan = read_headers(assignment.instances, resources.objects)
    check()
    with watch.stage("select"):
        _, selection = choose_series(scan, rules=_rules(assignment.route))
    with watch.stage("volume"):
        volume, taken, left_out = build_best(selection, resources.objects)
    notes = _selection_notes(taken, left_out)
    return _analyse_volume(resources, volume, assignment, notes=notes, check=check, watch=watch)


def _analyse_volume(
    resources: PipelineResources,
    volume: Volume,
    assignment: Assignment,
    *,
    notes: tuple[str, ...],
    check: AbortCheck,
    watch: Stopwatch,
) -> Analysis:
    check()
    route = assignment.route
    input_sha256 = digest_frames(volume.frames)
    with watch.stage("segment"):
        analyser = with_prompt(pick_analyser(resources.analysers, route.analyser), route.prompt)
        segmentation = analyser.segment(volume, check=check)
        lesions = find_lesions(segmentation, volume, input_sha256=input_sha256)
    check()
    with watch.stage("classify"):
        classifier = resources.classifiers.for_volume(volume) if resources.classifiers else None
        findings = label_findings(classifier, volume, lesions, resources.objects)
    with watch.stage("triage"):
        decision = _decide(resources.policy, findings, segmentation, assignment.lane)
    with watch.stage("overlay"):
        pictures = draw_overlays(volume, lesions.labels, most=resources.overlay_slices)
        overlays = tuple(resources.objects.put(picture) for picture in pictures)
        explanation = keep_panels(segmentation.explanation, resources.objects)
    found = findings[0].presence is Presence.PRESENT
    return Analysis(
        series_instance_uid=volume.series_instance_uid,
        input_sha256=input_sha256,
        algorithm=segmentation.algorithm,
        classifier=classifier.algorithm if classifier and found else None,
        case_score=segmentation.case_score,
        out_of_distribution=segmentation.out_of_distribution,
        findings=findings,
        label_map=LabelMap(lesions.labels, volume.frames) if found else None,
        frames=volume.frames,
        decision=decision,
        timings=watch.timings,
        overlays=overlays,
        notes=notes + _merge_notes(lesions),
        explanation=explanation,
        route=route.name,
        routes_sha256=assignment.routes_sha256,
        withheld=_withheld(route, segmentation.out_of_distribution),
    )


def digest_frames(frames: tuple[FrameRef, ...]) -> str:
    """Return the SHA-256 over what was read, slice by slice; the same images always give the same digest."""
    sha = hashlib.sha256()
    for frame in frames:
        sha.update(f"{frame.sop_instance_uid}\x1f{frame.frame_number}\x1f{frame.digest}\n".encode())
    return sha.hexdigest()


def _load(resources: PipelineResources, held: jobs.Claim) -> Assignment:
    """Read what a job asks for; TwoPatients where images of several share the study, whichever series it wants."""
    with resources.database.read() as session:
        job = jobs.find(session, held.job_id)
        route = routings.route_named(session, job.route, job.routes_sha256)
        _require_one_patient(series.of_study(session, held.study_id))
        instances = studies.instances_of(session, held.study_id)
    wanted = tuple(item for item in instances if not job.wanted or item.series_instance_uid in job.wanted)
    return Assignment(route, job.routes_sha256 or "", job.lane, wanted)


def _require_one_patient(facts: Iterable[SeriesFacts]) -> None:
    patients = {one.patient_id for one in facts if any(map(is_image, one.sop_class_uids))} - {""}
    if len(patients) > 1:
        raise TwoPatients(
            f"the study holds images of {len(patients)} patients; it is set aside until it is sent again with one"
        )


def _rules(route: Route) -> SelectionRules:
    return SelectionRules(modalities=frozenset(route.match.modality), preferences=route.prefer)


def _withheld(route: Route, out_of_distribution: float) -> str | None:
    """Return why a result is not to be sent, or None where it is."""
    far = out_of_distribution > route.unfamiliar_above
    return UNFAMILIAR if far and route.unfamiliar is Unfamiliar.WITHHOLD else None


def _decide(policy: Policy, findings: tuple[Finding, ...], segmentation: Segmentation, lane: Lane) -> TriageDecision:
    return policy.decide(Case(findings, segmentation.case_score, segmentation.out_of_distribution, lane))


def _selection_notes(taken: SeriesRef, left_out: tuple[LeftOut, ...]) -> tuple[str, ...]:
    """Return coded reasons for what was left out, and which part was taken of a series that holds several volumes."""
    part = (f"part_taken: {taken.part} of series {taken.series_instance_uid}",) if taken.part else ()
    return part + tuple(_left_out_note(item) for item in left_out)


def _left_out_note(item: LeftOut) -> str:
    part = f", {item.part}" if item.part else ""
    return f"{item.code or item.reason.value}: series {item.series_instance_uid}{part} ({item.instances})"


def _merge_notes(lesions: Lesions) -> tuple[str, ...]:
    if not lesions.merged:
        return ()
    return (f"lesions_merged: {lesions.merged} smaller ones share number {MOST_LESIONS}",)


def open_resources(
    settings: WorkerSettings, database: Database, objects: ObjectStore, *, actor: str
) -> PipelineResources:
    """Load the models and read the policy; raises WeightsMismatch, PolicyInvalid or ConfigurationError."""
    policy = load_policy(settings.policy)
    _limit_threads(settings.threads)
    return PipelineResources(
        database=database,
        objects=objects,
        analysers=build_analysers(settings),
        classifiers=_open_classifiers(settings, database, actor) if settings.classify else None,
        policy=policy,
        overlay_slices=settings.overlay_slices,
    )


def _open_classifiers(settings: WorkerSettings, database: Database, actor: str) -> Classifiers:
    from workers.devices import choose_device
    from workers.fewshot.lesion_views import InstalledEncoders
    from workers.fewshot.serving import PromotedClassifiers
    from workers.fewshot.starter import install_starter

    install_starter(settings, database, actor=actor)
    encoders = InstalledEncoders(settings.models_folder(), choose_device(settings.device))
    classifiers = PromotedClassifiers(database, encoders)
    classifiers.warm()
    return classifiers


def _limit_threads(threads: int) -> None:
    # Beside other load, threads of torch that spin while they wait cost far more than they save (measured: 65 times).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if threads:
        import torch

        torch.set_num_threads(threads)
