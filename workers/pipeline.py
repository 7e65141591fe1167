"""Analyse what one route wants of a study, from stored instances to findings, decision and pictures, stage by stage."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from numpy import uint8
from numpy.typing import NDArray

from storage import jobs
from storage.database import Database
from storage.domain import (
    Algorithm,
    Analysis,
    Finding,
    FrameRef,
    LabelMap,
    Presence,
    StageTiming,
    Volume,
)
from storage.explanations import KeptExplanation
from storage.objects import ObjectStore
from workers.analysers import AbortCheck, Analyser, build_analysers, pick_analyser, with_prompt
from workers.assignments import Assignment, load_assignment
from workers.config import WorkerSettings
from workers.errors import TaskNotPromoted
from workers.image_labels import ImageClassifiers, image_finding, label_image
from workers.imaging.best_volume import build_best
from workers.imaging.instances import read_headers
from workers.imaging.selection_notes import selection_notes
from workers.imaging.series import SelectionRules, choose_series
from workers.lesions import MOST_LESIONS, Classifiers, Lesions, find_lesions, label_findings
from workers.pictures import draw_overlays, draw_saliency, keep_panels
from workers.triage import Case, Policy, load_policy

if TYPE_CHECKING:
    from workers.guard.region_guard import RegionGuard

LABEL = "label"
"""The analyser of routes that ask for a label of a whole image: few-shot adapters, no segmentation."""


class RouteClassifiers(Classifiers, ImageClassifiers, Protocol):
    """Chooses what labels lesions, and what labels whole images."""


@dataclass(frozen=True, slots=True)
class PipelineResources:
    """What the stages of a job use: opened and loaded once per process, kept warm between jobs."""

    database: Database
    objects: ObjectStore
    analysers: Mapping[str, Analyser]
    classifiers: RouteClassifiers | None
    policy: Policy
    overlay_slices: int = 12
    guard: RegionGuard | None = None

    @property
    def serves(self) -> frozenset[str]:
        """The analysers that routes may ask for here."""
        return frozenset(self.analysers) | (frozenset({LABEL}) if self.classifiers else frozenset())


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


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at a job: what it uses, when to stop, and where its time goes."""

    resources: PipelineResources
    assignment: Assignment
    check: AbortCheck
    watch: Stopwatch


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What an analyser says of its input. ``labels`` uint8 ``[z, y, x]`` is None where nothing has a place."""

    algorithm: Algorithm
    classifier: Algorithm | None
    case_score: float
    out_of_distribution: float
    findings: tuple[Finding, ...]
    labels: NDArray[uint8] | None
    overlays: tuple[str, ...]
    explanation: KeptExplanation | None = None
    notes: tuple[str, ...] = ()


def analyse(
    resources: PipelineResources, held: jobs.Claim, *, check: AbortCheck, watch: Stopwatch | None = None
) -> Analysis:
    """Return the analysis that a claimed job asks for; nothing of it is in the database yet.

    Pictures and attention map are put into the object store. ``check`` is called between stages. Every OncueError
    that the stages raise ends the attempt with its code.
    """
    watch = watch or Stopwatch()
    with watch.stage("load"):
        assignment = load_assignment(resources.database, held)
    attempt = Attempt(resources, assignment, check, watch)
    volume, notes = _read(attempt)
    check()
    input_sha256 = digest_frames(volume.frames)
    ask = _label_whole if assignment.route.analyser == LABEL else _segment
    answer = ask(attempt, volume, input_sha256=input_sha256)
    with watch.stage("triage"):
        case = Case(answer.findings, answer.case_score, answer.out_of_distribution, assignment.lane)
        decision = resources.policy.decide(case)
    return Analysis(
        series_instance_uid=volume.series_instance_uid,
        input_sha256=input_sha256,
        algorithm=answer.algorithm,
        classifier=answer.classifier,
        case_score=answer.case_score,
        out_of_distribution=answer.out_of_distribution,
        findings=answer.findings,
        label_map=None if answer.labels is None else LabelMap(answer.labels, volume.frames),
        frames=volume.frames,
        decision=decision,
        timings=watch.timings,
        overlays=answer.overlays,
        notes=notes + answer.notes,
        explanation=answer.explanation,
        route=assignment.route.name,
        routes_sha256=assignment.routes_sha256,
        withheld=assignment.withheld(answer.out_of_distribution),
    )


def digest_frames(frames: tuple[FrameRef, ...]) -> str:
    """Return the SHA-256 over what was read, slice by slice; the same images always give the same digest."""
    sha = hashlib.sha256()
    for frame in frames:
        sha.update(f"{frame.sop_instance_uid}\x1f{frame.frame_number}\x1f{frame.digest}\n".encode())
    return sha.hexdigest()


def _read(attempt: Attempt) -> tuple[Volume, tuple[str, ...]]:
    """Return what the route's analyser is to look at, and notes on what was left out."""
    route, objects = attempt.assignment.route, attempt.resources.objects
    with attempt.watch.stage("select"):
        scan = read_headers(attempt.assignment.instances, objects)
        rules = SelectionRules(modalities=frozenset(route.match.modality), preferences=route.prefer)
        _, selection = choose_series(scan, rules=rules)
    attempt.check()
    with attempt.watch.stage("volume"):
        volume, taken, left_out = build_best(selection, objects)
    attempt.check()
    return volume, selection_notes(taken, left_out) + _looked_at(attempt, volume)


def _looked_at(attempt: Attempt, volume: Volume) -> tuple[str, ...]:
    """Return what the pictures look like, as a note; BodyPartMismatch where that is not what the route wants."""
    guard = attempt.resources.guard
    if guard is None:
        return ()
    from workers.guard.region_guard import check_region

    with attempt.watch.stage("guard"):
        opinion = guard.look(volume)
    check_region(opinion, attempt.assignment.route.match.body_part)
    if opinion.region is None or opinion.kind is None:
        return ()
    return (f"looks_like: {opinion.kind.value} ({opinion.probability:.2f})",)


def _segment(attempt: Attempt, volume: Volume, *, input_sha256: str) -> Answer:
    resources, route = attempt.resources, attempt.assignment.route
    with attempt.watch.stage("segment"):
        analyser = with_prompt(pick_analyser(resources.analysers, route.analyser), route.prompt)
        segmentation = analyser.segment(volume, check=attempt.check)
        lesions = find_lesions(segmentation, volume, input_sha256=input_sha256)
    attempt.check()
    with attempt.watch.stage("classify"):
        classifier = resources.classifiers.for_volume(volume, task=route.task) if resources.classifiers else None
        findings = label_findings(classifier, volume, lesions, resources.objects)
    with attempt.watch.stage("overlay"):
        pictures = draw_overlays(volume, lesions.labels, most=resources.overlay_slices)
        explanation = keep_panels(segmentation.explanation, resources.objects)
    found = findings[0].presence is Presence.PRESENT
    return Answer(
        algorithm=segmentation.algorithm,
        classifier=classifier.algorithm if classifier and found else None,
        case_score=segmentation.case_score,
        out_of_distribution=segmentation.out_of_distribution,
        findings=findings,
        labels=lesions.labels if found else None,
        overlays=tuple(resources.objects.put(picture) for picture in pictures),
        explanation=explanation,
        notes=_merge_notes(lesions),
    )


def _label_whole(attempt: Attempt, volume: Volume, *, input_sha256: str) -> Answer:
    resources, task = attempt.resources, attempt.assignment.route.task
    if resources.classifiers is None:
        raise TaskNotPromoted("this worker labels nothing: set worker.classify, or give the route another analyser")
    with attempt.watch.stage("classify"):
        label = label_image(resources.classifiers, volume, task=task)
        finding = image_finding(label, volume, resources.objects, input_sha256=input_sha256)
    with attempt.watch.stage("overlay"):
        pictures = draw_saliency(volume, label.classification.saliency)
    algorithm = label.classification.algorithm
    return Answer(
        algorithm=algorithm,
        classifier=algorithm,
        case_score=label.case_score,
        out_of_distribution=label.out_of_distribution,
        findings=(finding,),
        labels=None,
        overlays=tuple(resources.objects.put(picture) for picture in pictures),
    )


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
        guard=_open_guard(settings) if settings.guard else None,
    )


def _open_classifiers(settings: WorkerSettings, database: Database, actor: str) -> RouteClassifiers:
    from workers.devices import choose_device
    from workers.fewshot.lesion_views import InstalledEncoders
    from workers.fewshot.serving import PromotedClassifiers
    from workers.fewshot.starter import install_starter

    install_starter(settings, database, actor=actor)
    encoders = InstalledEncoders(settings.models_folder(), choose_device(settings.device))
    classifiers = PromotedClassifiers(database, encoders)
    classifiers.warm()
    return classifiers


def _open_guard(settings: WorkerSettings) -> RegionGuard:
    from workers.devices import choose_device
    from workers.guard.region_guard import open_region_guard

    return open_region_guard(settings.models_folder(), device=choose_device(settings.device))


def _limit_threads(threads: int) -> None:
    # Beside other load, threads of torch that spin while they wait cost far more than they save (measured: 65 times).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if threads:
        import torch

        torch.set_num_threads(threads)
