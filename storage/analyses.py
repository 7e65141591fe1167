"""Analyses with their findings, predictions and explanations: written once per job, read by delivery and console."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from storage import analysis_files, arrays, audit, changes, deletions, jobs, sites, standing, superseding
from storage.announcing import announcements, urgent_studies
from storage.domain import (
    Algorithm,
    Analysis,
    Code,
    Finding,
    Presence,
    Priority,
    StageTiming,
    Structure,
    TriageDecision,
)
from storage.errors import RecordMissing
from storage.explanations import KeptExplanation, Neighbour, Prediction, panels_from_json, panels_to_json
from storage.fewshot.tables import ClassificationPredictionRow
from storage.history.sealing import newest_checkpoint
from storage.models import JobRow
from storage.objects import ObjectStore
from storage.result_tables import AnalysisRow, ExplanationRow, FindingRow, ReportRow, StructureRow
from storage.states import ReportState
from storage.triage import policies, shadows
from storage.volumes import Extent
from storage.workitems import opening


def save(session: Session, held: jobs.Claim, analysis: Analysis, *, grid_digest: str, now: datetime) -> None:
    """Write what a held job found, finish the job and open its report, all in the caller's transaction.

    ``grid_digest`` is what ``arrays.save_grid`` returned. LeaseLost where another worker took the job over.
    A retried job replaces its earlier analysis; the audit chain keeps both.
    """
    jobs.complete(session, held, now=now)
    session.execute(delete(FindingRow).where(FindingRow.job_id == held.job_id))
    session.execute(delete(StructureRow).where(StructureRow.job_id == held.job_id))
    session.merge(_row(session, held.job_id, analysis, grid_digest=grid_digest, now=now))
    session.flush()
    session.add_all(_finding_row(held.job_id, finding) for finding in analysis.findings)
    session.add_all(_structure_row(held.job_id, structure) for structure in analysis.structures)
    _save_predictions(session, held.job_id, analysis.findings, now=now)
    save_explanation(session, held.job_id, analysis.explanation)
    shadows.save(session, held.job_id, analysis.shadows, now=now)
    analysis_files.save(session, held.job_id, analysis, grid_digest=grid_digest)
    superseding.supersede_results(session, held.study_id, held.route, by=held.job_id, actor=held.owner, now=now)
    session.merge(
        ReportRow(
            job_id=held.job_id,
            state=(ReportState.WITHHELD if analysis.withheld else ReportState.PENDING).value,
            attempts=0,
            next_attempt_at=now,
            code=None,
            reason=None,
        )
    )
    changes.announce(session)
    present = [finding for finding in analysis.findings if finding.presence is Presence.PRESENT]
    audit.record(
        session,
        "study:analysed",
        f"study/{held.study_instance_uid}",
        actor=held.owner,
        now=now,
        details={
            "job": held.job_id,
            "revision": held.revision,
            "series": analysis.series_instance_uid,
            "route": held.route,
            "withheld": analysis.withheld,
            "lesions": len(present),
            "volume_ml": round(sum(finding.volume_ml for finding in present), 3),
            "case_score": round(analysis.case_score, 4),
            "out_of_distribution": None
            if analysis.out_of_distribution is None
            else round(analysis.out_of_distribution, 4),
            "model": analysis.algorithm.name,
            "algorithm": f"{analysis.algorithm.name} {analysis.algorithm.version}",
            "weights": analysis.algorithm.weights_sha256,
            "input": analysis.input_sha256,
            "grid": grid_digest,
            "left_out": len(analysis.notes),
            "organs": len(analysis.structures),
        },
        study=audit.study_of(session, held.study_id),
    )
    _record_decision(session, held, analysis, now=now)
    standing.refresh(session, held.study_id)
    urgent_studies.note_result(session, held.study_id, actor=held.owner, now=now)
    announcements.note_result(session, held.study_id, actor=held.owner, now=now)
    opening.note_result(session, held.study_id, actor=held.owner, now=now)


def load(session: Session, job_id: int, objects: ObjectStore) -> Analysis:
    """Return the analysis of a job; RecordMissing where it has none, ResultsDeleted where retention deleted it."""
    row = session.get(AnalysisRow, job_id)
    if row is None:
        raise RecordMissing(f"job {job_id} has no analysis")
    deletions.require_results(session, job_id)
    job = session.get_one(JobRow, job_id)
    frames, label_map = arrays.load_grid(objects, row.grid_digest)
    return Analysis(
        series_instance_uid=row.series_instance_uid,
        input_sha256=row.input_sha256,
        algorithm=Algorithm(row.algorithm_name, row.algorithm_version, row.weights_sha256, row.parameters),
        classifier=classifier_of(row),
        case_score=row.case_score,
        out_of_distribution=row.out_of_distribution,
        findings=findings_of(session, job_id),
        label_map=label_map,
        frames=frames,
        decision=replace(decision_of(row), policy_name=policies.name_of(session, row.policy_sha256)),
        timings=tuple(StageTiming(**entry) for entry in json.loads(row.timings)),
        overlays=tuple(json.loads(row.overlays)),
        notes=tuple(json.loads(row.notes)),
        explanation=explanation_of(session, job_id),
        route=job.route,
        routes_sha256=job.routes_sha256 or "",
        withheld=row.withheld,
        structures=structures_of(session, job_id),
        checkpoint=row.checkpoint,
        shadows=shadows.of_job(session, job_id),
    )


def structures_of(session: Session, job_id: int) -> tuple[Structure, ...]:
    """Return the organs that a job's analysis drew, by segment number."""
    query = select(StructureRow).where(StructureRow.job_id == job_id).order_by(StructureRow.number)
    return tuple(
        Structure(
            number=row.number,
            name=row.name,
            site=sites.read(row.site),
            volume_ml=row.volume_ml,
            tracking_id=row.tracking_id,
            tracking_uid=row.tracking_uid,
            lesions=tuple(json.loads(row.lesions)),
        )
        for row in session.scalars(query)
    )


def findings_of(session: Session, job_id: int) -> tuple[Finding, ...]:
    """Return the findings of a job by segment number."""
    query = select(FindingRow).where(FindingRow.job_id == job_id).order_by(FindingRow.number)
    predicted = _predictions_of(session, job_id)
    return tuple(_finding(row, predicted.get(row.number)) for row in session.scalars(query))


def classifier_of(row: AnalysisRow) -> Algorithm | None:
    """Return the classifier that an analysis used, or None where it used none."""
    if row.classifier_name is None:
        return None
    return Algorithm(
        row.classifier_name,
        row.classifier_version or "",
        row.classifier_sha256 or "",
        row.classifier_parameters or "{}",
    )


def decision_of(row: AnalysisRow) -> TriageDecision:
    """Return the triage decision that an analysis ended with."""
    return TriageDecision(Priority(row.priority), row.rule, row.policy_sha256, row.policy_inputs)


def pictures_of(session: Session, job_id: int) -> frozenset[str]:
    """Return the digests of the pictures of a job, overlays and panels; empty where it has no analysis."""
    text = session.scalar(select(AnalysisRow.overlays).where(AnalysisRow.job_id == job_id))
    explanation = explanation_of(session, job_id)
    panels = explanation.panels if explanation else ()
    return frozenset(json.loads(text) if text else ()) | {panel.picture for panel in panels}


def save_explanation(session: Session, job_id: int, explanation: KeptExplanation | None) -> None:
    """Write what a job's analysis shows, in place of what an earlier attempt showed."""
    session.execute(delete(ExplanationRow).where(ExplanationRow.job_id == job_id))
    if explanation is not None:
        panels = panels_to_json(explanation.panels)
        session.add(ExplanationRow(job_id=job_id, attention=explanation.attention, panels=panels))


def explanation_of(session: Session, job_id: int) -> KeptExplanation | None:
    """Return what the analysis of a job shows, or None where it shows nothing."""
    row = session.get(ExplanationRow, job_id)
    if row is None:
        return None
    return KeptExplanation(row.attention, panels_from_json(row.panels))


def _record_decision(session: Session, held: jobs.Claim, analysis: Analysis, *, now: datetime) -> None:
    decision = analysis.decision
    audit.record(
        session,
        "study:prioritised",
        f"study/{held.study_instance_uid}",
        actor=held.owner,
        now=now,
        details={
            "job": held.job_id,
            "priority": decision.priority.value,
            "rule": decision.rule,
            "policy": decision.policy_sha256,
            "inputs": decision.inputs,
            **_tried(analysis.shadows),
        },
        study=audit.study_of(session, held.study_id),
    )


def _tried(decisions: Sequence[TriageDecision]) -> dict[str, audit.Detail]:
    """Return what policies on trial said, from the same inputs, as one detail; none where none was tried."""
    if not decisions:
        return {}
    said = [
        {"policy": one.policy_sha256, "name": one.policy_name, "priority": one.priority.value, "rule": one.rule}
        for one in decisions
    ]
    return {"shadows": json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=False)}


def _row(session: Session, job_id: int, analysis: Analysis, *, grid_digest: str, now: datetime) -> AnalysisRow:
    classifier, checkpoint = analysis.classifier, newest_checkpoint(session)
    return AnalysisRow(
        job_id=job_id,
        series_instance_uid=analysis.series_instance_uid,
        input_sha256=analysis.input_sha256,
        grid_digest=grid_digest,
        algorithm_name=analysis.algorithm.name,
        algorithm_version=analysis.algorithm.version,
        weights_sha256=analysis.algorithm.weights_sha256,
        parameters=analysis.algorithm.parameters,
        classifier_name=classifier.name if classifier else None,
        classifier_version=classifier.version if classifier else None,
        classifier_sha256=classifier.weights_sha256 if classifier else None,
        classifier_parameters=classifier.parameters if classifier else None,
        case_score=analysis.case_score,
        out_of_distribution=analysis.out_of_distribution,
        priority=analysis.decision.priority.value,
        rule=analysis.decision.rule,
        policy_sha256=analysis.decision.policy_sha256,
        policy_inputs=analysis.decision.inputs,
        timings=json.dumps([asdict(timing) for timing in analysis.timings]),
        overlays=json.dumps(list(analysis.overlays)),
        notes=json.dumps(list(analysis.notes)),
        analysed_at=now,
        withheld=analysis.withheld,
        superseded_at=None,
        superseded_by=None,
        checkpoint=checkpoint.note if checkpoint else None,
    )


def _finding_row(job_id: int, finding: Finding) -> FindingRow:
    return FindingRow(
        job_id=job_id,
        number=finding.number,
        presence=finding.presence.value,
        code_value=finding.concept.value,
        code_scheme=finding.concept.scheme,
        code_meaning=finding.concept.meaning,
        confidence=finding.confidence,
        volume_ml=finding.volume_ml,
        longest_diameter_mm=finding.longest_diameter_mm,
        tracking_id=finding.tracking_id,
        tracking_uid=finding.tracking_uid,
        label=finding.label,
        label_probability=finding.label_probability,
        abstained=finding.abstained,
        extent=finding.extent.value,
        area_mm2=finding.area_mm2,
        site=sites.write(finding.site) if finding.site else None,
    )


def _structure_row(job_id: int, structure: Structure) -> StructureRow:
    return StructureRow(
        job_id=job_id,
        number=structure.number,
        name=structure.name,
        site=sites.write(structure.site),
        volume_ml=structure.volume_ml,
        tracking_id=structure.tracking_id,
        tracking_uid=structure.tracking_uid,
        lesions=json.dumps(list(structure.lesions)),
    )


def _finding(row: FindingRow, prediction: Prediction | None) -> Finding:
    return Finding(
        number=row.number,
        presence=Presence(row.presence),
        concept=Code(row.code_value, row.code_scheme, row.code_meaning),
        confidence=row.confidence,
        volume_ml=row.volume_ml,
        longest_diameter_mm=row.longest_diameter_mm,
        tracking_id=row.tracking_id,
        tracking_uid=row.tracking_uid,
        label=row.label,
        label_probability=row.label_probability,
        abstained=row.abstained,
        prediction=prediction,
        extent=Extent(row.extent),
        area_mm2=row.area_mm2,
        site=sites.read(row.site) if row.site else None,
    )


def _save_predictions(session: Session, job_id: int, findings: Sequence[Finding], *, now: datetime) -> None:
    """Write the predictions of a job's findings in place of earlier ones; the analysis' audit event covers them."""
    session.execute(delete(ClassificationPredictionRow).where(ClassificationPredictionRow.job_id == job_id))
    session.add_all(
        _prediction_row(job_id, finding.number, finding.prediction, now=now)
        for finding in findings
        if finding.prediction
    )


def _predictions_of(session: Session, job_id: int) -> Mapping[int, Prediction]:
    """Return the predictions of a job by the number of their finding."""
    query = select(ClassificationPredictionRow).where(ClassificationPredictionRow.job_id == job_id)
    return {row.number: _prediction(row) for row in session.scalars(query)}


def _prediction_row(job_id: int, number: int, prediction: Prediction, *, now: datetime) -> ClassificationPredictionRow:
    return ClassificationPredictionRow(
        job_id=job_id,
        number=number,
        adapter_id=prediction.adapter,
        label_set=json.dumps(list(prediction.label_set)),
        distance=prediction.distance,
        nearest=json.dumps([asdict(neighbour) for neighbour in prediction.nearest]),
        attends_to_lesion=prediction.attends_to_lesion,
        saliency=prediction.saliency,
        in_mask_share=prediction.in_mask_share,
        predicted_at=now,
    )


def _prediction(row: ClassificationPredictionRow) -> Prediction:
    return Prediction(
        adapter=row.adapter_id,
        label_set=tuple(json.loads(row.label_set)),
        distance=row.distance,
        nearest=tuple(Neighbour(**entry) for entry in json.loads(row.nearest)),
        attends_to_lesion=row.attends_to_lesion,
        saliency=row.saliency,
        in_mask_share=row.in_mask_share,
    )
