"""What policies on trial said of each analysis, kept beside the decision that counts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from storage.domain import Priority, TriageDecision
from storage.models import AnalysisRow
from storage.triage.tables import ShadowDecisionRow, TriagePolicyRow


def save(session: Session, job_id: int, decisions: Sequence[TriageDecision], *, now: datetime) -> None:
    """Write what the policies on trial say of a job's analysis, in place of what they said of an earlier attempt.

    The event of the decision that counts holds them too.
    """
    session.execute(delete(ShadowDecisionRow).where(ShadowDecisionRow.job_id == job_id))
    session.add_all(
        ShadowDecisionRow(
            job_id=job_id,
            policy_sha256=decision.policy_sha256,
            priority=decision.priority.value,
            rule=decision.rule,
            decided_at=now,
        )
        for decision in decisions
    )
    session.flush()


def of_job(session: Session, job_id: int) -> tuple[TriageDecision, ...]:
    """Return what the policies on trial said of a job's analysis, by their names."""
    query = (
        select(ShadowDecisionRow, TriagePolicyRow.name, AnalysisRow.policy_inputs)
        .join(AnalysisRow, AnalysisRow.job_id == ShadowDecisionRow.job_id)
        .join(TriagePolicyRow, TriagePolicyRow.sha256 == ShadowDecisionRow.policy_sha256)
        .where(ShadowDecisionRow.job_id == job_id)
        .order_by(TriagePolicyRow.name, ShadowDecisionRow.policy_sha256)
    )
    return tuple(
        TriageDecision(Priority(row.priority), row.rule, row.policy_sha256, inputs, name)
        for row, name, inputs in session.execute(query)
    )
