"""What is said of one study, as the rows of tables."""

from __future__ import annotations

from console.result_words import measures_of, named_site, why_not_sent
from console.terminal.route_results import in_one_cell
from storage.deletions import Deletion
from storage.domain import Finding, Structure, TriageDecision
from storage.study_record import Dossier, Result


def summary_rows(dossier: Dossier) -> list[tuple[str, object]]:
    """Return what is said of a study as a whole."""
    entry = dossier.entry
    return [
        ("study UID", entry.study_instance_uid),
        ("state", entry.state),
        ("revision", entry.revision),
        ("images", entry.instances),
        ("priority", entry.priority),
        ("routes", in_one_cell(entry)),
        *([("waits for", entry.waits_for)] if entry.waits_for else []),
        *([("its source holds", entry.expected_instances)] if entry.expected_instances is not None else []),
        *(("not applicable", reason) for reason in entry.reasons),
        *((f"{one.kind} deleted", _deletion(one)) for one in dossier.deletions),
        *([("kept by", f"{dossier.kept.kept_by}: {dossier.kept.reason}")] if dossier.kept else []),
    ]


def _deletion(deletion: Deletion) -> str:
    size = f"{deletion.files} files, {deletion.size_bytes / 1_000_000:,.1f} MB"
    return f"on {deletion.deleted_at:%Y-%m-%d %H:%M} UTC by rule {deletion.rule}: {size}"


def _likeness(result: Result) -> str:
    """Return how like its training data a model found its input, where it has a measure of that."""
    if result.out_of_distribution is None:
        return "likeness to the training data is not measured by this model"
    unlike = "unlike the training data" if result.is_unfamiliar else "like the training data"
    return f"{unlike} (score {result.out_of_distribution:.2f})"


def result_rows(result: Result) -> list[tuple[str, object]]:
    """Return what is said of the result of one route."""
    if result.is_superseded:
        by = f"job {result.superseded_by}" if result.superseded_by else "none: the route no longer applies"
        return [("result of", f"job {result.job_id}, revision {result.revision}"), ("superseded by", by)]
    return [
        ("result of", f"job {result.job_id}, revision {result.revision}"),
        ("priority", _decided(result.decision)),
        *(("on trial", _decided(shadow)) for shadow in result.shadows),
        ("case score", result.case_score),
        ("input", _likeness(result)),
        *([("delivery", why_not_sent(result.withheld))] if result.withheld else []),
        ("algorithm", f"{result.algorithm.name} {result.algorithm.version}, {result.algorithm.weights_sha256[:12]}"),
    ]


def _decided(decision: TriageDecision) -> str:
    policy = f"{decision.policy_name} {decision.policy_sha256[:12]}".strip()
    return f"{decision.priority} by rule «{decision.rule}» of policy {policy}"


def finding_rows(finding: Finding) -> list[tuple[str, object]]:
    """Return what is said of one finding; measures that mean nothing are left out."""
    known = measures_of(finding.extent)
    return [
        ("presence", finding.presence),
        ("confidence", finding.confidence),
        *((name.replace("_", " "), getattr(finding, name)) for name in known),
        *([] if known else [("size", "not known: the images are not calibrated")]),
        *([("lies in", named_site(finding.site))] if finding.site else []),
        ("label", finding.label),
    ]


def structure_row(structure: Structure) -> tuple[object, ...]:
    """Return the cells of one organ."""
    lesions = ", ".join(map(str, structure.lesions)) or None
    return structure.number, named_site(structure.site), structure.name, structure.volume_ml or None, lesions
