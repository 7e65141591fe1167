"""Which files of the object store an analysis refers to: what retention goes by, and what tells shared files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from storage.deletion_tables import AnalysisFileRow
from storage.domain import Analysis, Holding
from storage.objects import ObjectStore


def save(session: Session, job_id: int, analysis: Analysis, *, grid_digest: str) -> None:
    """Write which files a job's analysis refers to. Those of an earlier attempt stay listed until they are deleted."""
    session.flush()
    known = {row.digest: row for row in session.scalars(_of_job(job_id))}
    for digest, holding in dict(_files_of(analysis, grid_digest)).items():
        row = known.get(digest)
        if row is None:
            session.add(AnalysisFileRow(job_id=job_id, digest=digest, kind=holding.value))
        else:
            row.kind, row.deleted_at = holding.value, None


def measure(session: Session, objects: ObjectStore, *, limit: int) -> int:
    """Write the sizes of files that nobody has looked at yet, and return how many; a missing file has none."""
    unmeasured = AnalysisFileRow.size_bytes.is_(None)
    rows = session.scalars(select(AnalysisFileRow).where(unmeasured).order_by(AnalysisFileRow.job_id).limit(limit))
    measured = 0
    for row in rows:
        row.size_bytes = objects.size(row.digest)
        measured += 1
    return measured


def _files_of(analysis: Analysis, grid_digest: str) -> Iterator[tuple[str, Holding]]:
    explanation = analysis.explanation
    yield from ((digest, Holding.PICTURES) for digest in analysis.overlays)
    yield from ((panel.picture, Holding.PICTURES) for panel in (explanation.panels if explanation else ()))
    yield from ((digest, Holding.RESULTS) for digest in _maps(analysis))
    yield grid_digest, Holding.RESULTS


def _maps(analysis: Analysis) -> Iterable[str]:
    if analysis.explanation is not None:
        yield analysis.explanation.attention
    for finding in analysis.findings:
        if finding.prediction is not None and finding.prediction.saliency is not None:
            yield finding.prediction.saliency


def _of_job(job_id: int) -> Select[AnalysisFileRow]:
    return select(AnalysisFileRow).where(AnalysisFileRow.job_id == job_id)
