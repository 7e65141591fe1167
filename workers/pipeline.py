"""Analyse what one route wants of a study, from stored instances to findings, decision and pictures, stage by stage."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from storage import jobs
from storage.database import utc_now
from storage.domain import Analysis, FrameRef, LabelMap, TriageDecision, Volume
from workers.analysers import AbortCheck
from workers.answers import Answer, Attempt, label_input, segment_input
from workers.assignments import NOTHING_DRAWN, load_assignment
from workers.circumstances import Triage, load_triage
from workers.device_turns import Turn
from workers.errors import BodyPartMismatch, GeometryOutsideRoute, WorkerError
from workers.imaging.inputs import largest_bytes, read_inputs
from workers.imaging.instances import read_headers
from workers.imaging.selection_notes import selection_notes
from workers.imaging.series import SelectionRules
from workers.resources import LABEL, PipelineResources
from workers.stopwatch import Stopwatch


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """One input with its answer and the priority that this gets."""

    volume: Volume
    input_sha256: str
    answer: Answer
    decision: TriageDecision


def analyse(
    resources: PipelineResources,
    held: jobs.Claim,
    *,
    check: AbortCheck,
    watch: Stopwatch | None = None,
    turn: Turn | None = None,
) -> Analysis:
    """Return the analysis that a claimed job asks for; nothing of it is in the database yet.

    Pictures and attention map are put into the object store. ``check`` is called between stages. Every OncueError
    that the stages raise ends the attempt with its code. Where a ``turn`` is given, it is waited for before anything
    is computed on the device and handed on after the last such stage; the stage «wait» is what that took.
    """
    watch = watch or Stopwatch()
    with watch.stage("load"):
        assignment = load_assignment(resources.database, held)
        triage = load_triage(resources, held, assignment, now=utc_now())
    attempt = Attempt(resources, assignment, check, watch, turn)
    volumes, notes = _read(attempt)
    # One turn for all images of a job: nobody comes in between.
    keeping = replace(attempt, turn=None)
    judged = [_judge(attempt if volume is volumes[-1] else keeping, triage, volume) for volume in volumes]
    leading = min(judged, key=_urgency)
    volume, answer = leading.volume, leading.answer
    return Analysis(
        series_instance_uid=volume.series_instance_uid,
        input_sha256=leading.input_sha256,
        algorithm=answer.algorithm,
        classifier=answer.classifier,
        case_score=answer.case_score,
        out_of_distribution=answer.out_of_distribution,
        findings=answer.findings,
        label_map=None if answer.labels is None else LabelMap(answer.labels, volume.frames),
        frames=volume.frames,
        decision=leading.decision,
        timings=watch.timings,
        overlays=answer.overlays,
        notes=notes + answer.notes + tuple(_also_read(one) for one in judged if one is not leading),
        explanation=answer.explanation,
        route=assignment.route.name,
        routes_sha256=assignment.routes_sha256,
        withheld=assignment.withheld(answer.out_of_distribution) or _unsaid(answer),
        structures=answer.structures,
        shadows=triage.try_shadows(answer),
    )


def _judge(attempt: Attempt, triage: Triage, volume: Volume) -> Judged:
    """Return what the route's analyser says of one input, and which priority that gets."""
    attempt.check()
    input_sha256 = digest_frames(volume.frames)
    ask = label_input if attempt.assignment.route.analyser == LABEL else segment_input
    answer = ask(attempt, volume, input_sha256=input_sha256)
    with attempt.watch.stage("triage"):
        decision = triage.decide(answer)
    return Judged(volume, input_sha256, answer, decision)


def _urgency(judged: Judged) -> tuple[bool, int, float]:
    """Return what the images of one series are ordered by: the first of them is the result."""
    return _unsaid(judged.answer) is not None, judged.decision.priority.rank, -judged.answer.case_score


def _also_read(judged: Judged) -> str:
    """Return a note on an image beside the leading one."""
    answer = judged.answer
    said = next((one.label or one.presence.value for one in answer.findings), f"{len(answer.structures)} organs")
    image = judged.volume.frames[0].sop_instance_uid
    return f"also_read: image {image} {said} {judged.answer.case_score:.3f}, {judged.decision.priority.value}"


def _unsaid(answer: Answer) -> str | None:
    """Return why an answer is not to be sent that says nothing at all: organs were looked for, and none was there."""
    return None if answer.findings or answer.structures else NOTHING_DRAWN


def digest_frames(frames: tuple[FrameRef, ...]) -> str:
    """Return the SHA-256 over what was read, slice by slice; the same images always give the same digest."""
    sha = hashlib.sha256()
    for frame in frames:
        sha.update(f"{frame.sop_instance_uid}\x1f{frame.frame_number}\x1f{frame.digest}\n".encode())
    return sha.hexdigest()


def _read(attempt: Attempt) -> tuple[tuple[Volume, ...], tuple[str, ...]]:
    """Return what the route's analyser is to look at, one volume or several images, and notes on the choice."""
    route, objects = attempt.assignment.route, attempt.resources.objects
    with attempt.watch.stage("select"):
        scan = read_headers(attempt.assignment.instances, objects)
        rules = SelectionRules(modalities=frozenset(route.match.modality), preferences=route.prefer)
    attempt.check()
    if attempt.turn is not None:
        with attempt.watch.stage("wait"):
            attempt.turn.reserve(largest_bytes(scan))
    with attempt.watch.stage("volume"):
        inputs = read_inputs(scan, objects, rules=rules, secondary_capture=route.secondary_capture)
    attempt.check()
    if attempt.turn is not None:
        with attempt.watch.stage("wait"):
            attempt.turn.take()
    shown, looks = _admitted(attempt, inputs.volumes)
    return shown, (*selection_notes(inputs.series, inputs.left_out), *inputs.notes, *looks)


def _admitted(attempt: Attempt, volumes: Sequence[Volume]) -> tuple[tuple[Volume, ...], tuple[str, ...]]:
    """Return the volumes that are what the route wants, in geometry and by what they show, and notes on their looks.

    GeometryOutsideRoute or BodyPartMismatch, that of the first one, where none is.
    """
    passed: list[Volume] = []
    notes: list[str] = []
    refusals: list[WorkerError] = []
    with attempt.watch.stage("guard"):
        for volume in volumes:
            try:
                notes += _look(attempt, volume)
            except (GeometryOutsideRoute, BodyPartMismatch) as error:
                refusals.append(error)
                notes.append(f"{error.code}: image {volume.frames[0].sop_instance_uid}")
            else:
                passed.append(volume)
    if not passed:
        raise refusals[0]
    return tuple(passed), tuple(notes)


def _look(attempt: Attempt, volume: Volume) -> tuple[str, ...]:
    """Return a note on what one volume looks like; raises where it is not what the route wants."""
    route, guard = attempt.assignment.route, attempt.resources.guard
    unmet = route.require.unmet(volume)
    if unmet:
        raise GeometryOutsideRoute(f"route {route.name}: {'; '.join(map(str, unmet))}")
    return () if guard is None else guard.require(volume, route.match.body_part)
