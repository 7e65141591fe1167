"""What an analyser says of one input: findings that have a place, or one label of the whole image."""

from __future__ import annotations

from dataclasses import dataclass

from numpy import uint8
from numpy.typing import NDArray

from storage.domain import Algorithm, Finding, Presence, Structure
from storage.explanations import KeptExplanation
from storage.volumes import Volume
from workers.analysers import AbortCheck, with_prompt
from workers.assignments import Assignment
from workers.device_turns import Turn
from workers.errors import TaskNotPromoted
from workers.image_labels import image_finding, label_image
from workers.lesions import Lesions, find_lesions, label_findings
from workers.pictures import draw_overlays, draw_saliency, keep_panels
from workers.resources import PipelineResources
from workers.stopwatch import Stopwatch


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at a job: what it uses, when to stop, and where its time goes."""

    resources: PipelineResources
    assignment: Assignment
    check: AbortCheck
    watch: Stopwatch
    turn: Turn | None = None
    """The job's turn at the device, None where nobody else wants it or it is not to be handed on yet."""

    def hand_on(self) -> None:
        """Let the next job have the device: nothing is computed on it any more."""
        if self.turn is not None:
            self.turn.hand_on()


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What an analyser says of its input: findings, and organs that it drew beside them or alone.

    ``labels`` uint8 ``[z, y, x]`` numbers both, and is None where nothing has a place. There is no finding where a
    model draws organs alone.
    """

    algorithm: Algorithm
    classifier: Algorithm | None
    case_score: float
    out_of_distribution: float | None
    findings: tuple[Finding, ...]
    labels: NDArray[uint8] | None
    overlays: tuple[str, ...]
    explanation: KeptExplanation | None = None
    notes: tuple[str, ...] = ()
    structures: tuple[Structure, ...] = ()


def segment_input(attempt: Attempt, volume: Volume, *, input_sha256: str) -> Answer:
    """Return what the route's segmenter finds in an input, with its lesions labelled and drawn."""
    resources, route = attempt.resources, attempt.assignment.route
    with attempt.watch.stage("segment"), resources.models.use(route.analyser) as analyser:
        segmentation = with_prompt(analyser, route.prompt).segment(volume, check=attempt.check)
        lesions = find_lesions(segmentation, volume, input_sha256=input_sha256)
    attempt.check()
    with attempt.watch.stage("classify"):
        classifier = resources.classifiers.for_volume(volume, task=route.task) if resources.classifiers else None
        findings = label_findings(classifier, volume, lesions, resources.objects)
    attempt.hand_on()
    with attempt.watch.stage("overlay"):
        pictures = draw_overlays(
            volume, lesions.lesion_labels, organs=lesions.structure_labels, most=resources.overlay_slices
        )
        explanation = keep_panels(segmentation.explanation, resources.objects)
    found = any(finding.presence is Presence.PRESENT for finding in findings)
    return Answer(
        algorithm=segmentation.algorithm,
        classifier=classifier.algorithm if classifier and found else None,
        case_score=segmentation.case_score,
        out_of_distribution=segmentation.out_of_distribution,
        findings=findings,
        labels=lesions.labels if found or lesions.structures else None,
        overlays=tuple(resources.objects.put(picture) for picture in pictures),
        explanation=explanation,
        notes=_merge_notes(lesions),
        structures=lesions.structures,
    )


def label_input(attempt: Attempt, volume: Volume, *, input_sha256: str) -> Answer:
    """Return the few-shot label of an input as a whole; TaskNotPromoted where there is nobody to give it."""
    resources, task = attempt.resources, attempt.assignment.route.task
    if resources.classifiers is None:
        raise TaskNotPromoted("this worker labels nothing: set worker.classify, or give the route another analyser")
    with attempt.watch.stage("classify"):
        label = label_image(resources.classifiers, volume, task=task)
        finding = image_finding(label, volume, resources.objects, input_sha256=input_sha256)
    attempt.hand_on()
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
    return (f"lesions_merged: {lesions.merged} smaller ones share the last number of their kind",)
