"""One study from stored instances to an analysis: load, select, volume, segment, classify, triage, overlay."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from storage import jobs, studies
from storage.database import Database
from storage.domain import (
    Analysis,
    Finding,
    FrameRef,
    LabelMap,
    Lane,
    Presence,
    Segmentation,
    StoredInstance,
    TriageDecision,
    Volume,
)
from storage.objects import ObjectStore
from storage.routes.file import load_routes
from workers import panels
from workers.analysers import Analyser, Check, pick_analyser
from workers.imaging.instances import HeaderScan, read_headers
from workers.imaging.series import LeftOut, SelectionRules, SeriesRef, choose_series, select_series
from workers.imaging.volumes import build_volume
from workers.labelling import Classifiers, label_findings
from workers.lesions import MOST_LESIONS, Lesions, find_lesions
from workers.overlays import draw_overlays
from workers.stopwatch import Stopwatch
from workers.triage import Case, Policy


@dataclass(frozen=True, slots=True)
class Bench:
    """Everything a job is worked on with: opened and loaded once per process, kept warm between jobs."""

    database: Database
    objects: ObjectStore
    analysers: Mapping[str, Analyser]
    classifiers: Classifiers | None
    policy: Policy
    overlay_slices: int = 12


def analyse(bench: Bench, held: jobs.Claim, *, check: Check, watch: Stopwatch | None = None) -> Analysis:
    """Analyse the study of a claimed job; nothing of it is in the database yet when this returns.

    Pictures and attention map are put into the object store. ``check`` is called between stages. Every OncueError
    that the stages raise ends the attempt with its code.
    """
    watch = watch or Stopwatch()
    with watch.stage("load"):
        lane, instances = _load(bench, held)
        scan = read_headers(instances, bench.objects)
    check()
    with watch.stage("select"):
        series, left_out = _select(bench, scan)
    with watch.stage("volume"):
        volume = build_volume(series, bench.objects)
    return _analyse_volume(bench, volume, lane=lane, left_out=left_out, check=check, watch=watch)


def _analyse_volume(
    bench: Bench, volume: Volume, *, lane: Lane, left_out: tuple[LeftOut, ...], check: Check, watch: Stopwatch
) -> Analysis:
    check()
    input_sha256 = digest_frames(volume.frames)
    with watch.stage("segment"):
        segmentation = pick_analyser(bench.analysers, volume.modality).segment(volume, check=check)
        lesions = find_lesions(segmentation, volume, input_sha256=input_sha256)
    check()
    with watch.stage("classify"):
        classifier = bench.classifiers.for_volume(volume) if bench.classifiers else None
        findings = label_findings(classifier, volume, lesions, bench.objects)
    with watch.stage("triage"):
        decision = _decide(bench.policy, findings, segmentation, lane)
    with watch.stage("overlay"):
        pictures = draw_overlays(volume, lesions.labels, most=bench.overlay_slices)
        overlays = tuple(bench.objects.put(picture) for picture in pictures)
        explanation = panels.keep(segmentation.explanation, bench.objects)
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
        notes=_notes(left_out, lesions),
        explanation=explanation,
    )


def digest_frames(frames: tuple[FrameRef, ...]) -> str:
    """Return the SHA-256 over what was read, slice by slice: the same images always give the same digest."""
    sha = hashlib.sha256()
    for frame in frames:
        sha.update(f"{frame.sop_instance_uid}\x1f{frame.frame_number}\x1f{frame.digest}\n".encode())
    return sha.hexdigest()


def _load(bench: Bench, held: jobs.Claim) -> tuple[Lane, tuple[StoredInstance, ...]]:
    with bench.database.read() as session:
        return jobs.find(session, held.job_id).lane, studies.instances_of(session, held.study_id)


def _select(bench: Bench, scan: HeaderScan) -> tuple[SeriesRef, tuple[LeftOut, ...]]:
    """Choose among the series that an analyser can take; NoAnalyser where only others would be usable."""
    preferences = load_routes().named("head-mr").prefer
    rules = SelectionRules(modalities=frozenset(bench.analysers), preferences=preferences)
    if select_series(scan, rules=rules).chosen is None:
        other = select_series(scan).chosen
        if other is not None:
            pick_analyser(bench.analysers, other.modality)
    series, selection = choose_series(scan, rules=rules)
    return series, selection.left_out


def _decide(policy: Policy, findings: tuple[Finding, ...], segmentation: Segmentation, lane: Lane) -> TriageDecision:
    return policy.decide(Case(findings, segmentation.case_score, segmentation.out_of_distribution, lane))


def _notes(left_out: tuple[LeftOut, ...], lesions: Lesions) -> tuple[str, ...]:
    notes = tuple(f"{item.reason.value}: series {item.series_instance_uid} ({item.instances})" for item in left_out)
    if lesions.merged:
        notes += (f"lesions_merged: {lesions.merged} smaller ones share number {MOST_LESIONS}",)
    return notes
