"""Explanations on record: written with their analysis, read by the pages and by whoever asks for one."""

from __future__ import annotations

import json
from dataclasses import asdict

from sqlalchemy import delete
from sqlalchemy.orm import Session

from storage.models import ExplanationRow
from storage.panels import KeptExplanation, Panel


def save(session: Session, job_id: int, explanation: KeptExplanation | None) -> None:
    """Write what a job's analysis shows, in place of what an earlier attempt showed."""
    session.execute(delete(ExplanationRow).where(ExplanationRow.job_id == job_id))
    if explanation is not None:
        panels = json.dumps([asdict(panel) for panel in explanation.panels], sort_keys=True)
        session.add(ExplanationRow(job_id=job_id, attention=explanation.attention, panels=panels))


def of_job(session: Session, job_id: int) -> KeptExplanation | None:
    """Return what the analysis of a job shows, or None where it shows nothing."""
    row = session.get(ExplanationRow, job_id)
    if row is None:
        return None
    return KeptExplanation(row.attention, tuple(Panel(**entry) for entry in json.loads(row.panels)))
