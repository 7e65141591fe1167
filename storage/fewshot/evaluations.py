"""Evaluations: what the gate said of an adapter, check by check, with the metrics and the model card."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from storage import audit
from storage.errors import RecordMissing
from storage.fewshot.adapters import Adapter
from storage.fewshot.tables import ClassificationCheckRow, ClassificationEvaluationRow
from storage.fewshot.verdicts import Check, Verdict, overall


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is recorded of one evaluation. ``metrics`` is canonical JSON, ``card`` is Markdown.

    ``attends_to_lesion`` says whether the shuffled-mask control lets the card claim so.
    """

    evaluation_sha256: str
    checks: tuple[Check, ...]
    attends_to_lesion: bool
    metrics: str
    card: str
    code_version: str

    @property
    def verdict(self) -> Verdict:
        """The worst verdict of the blocking checks."""
        return overall(self.checks)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One evaluation on record."""

    id: int
    adapter_id: int
    judgement: Judgement
    evaluated_by: str
    evaluated_at: datetime


def save(
    session: Session, task_name: str, adapter: Adapter, judgement: Judgement, *, actor: str, now: datetime
) -> Evaluation:
    """Put an evaluation and its checks on record; it only adds rows, so nothing is locked."""
    row = ClassificationEvaluationRow(
        adapter_id=adapter.id,
        evaluation_sha256=judgement.evaluation_sha256,
        verdict=judgement.verdict.value,
        attends_to_lesion=judgement.attends_to_lesion,
        metrics=judgement.metrics,
        card=judgement.card,
        code_version=judgement.code_version,
        evaluated_by=actor,
        evaluated_at=now,
    )
    session.add(row)
    session.flush()
    session.add_all(_check_row(row.id, position, check) for position, check in enumerate(judgement.checks))
    audit.record(
        session,
        "adapter:evaluated",
        f"task/{task_name}",
        actor=actor,
        now=now,
        details={
            "adapter": adapter.id,
            "evaluation": row.id,
            "verdict": judgement.verdict.value,
            "items": judgement.evaluation_sha256,
            **{check.name: check.verdict.value for check in judgement.checks},
        },
    )
    return _evaluation(row, judgement.checks)


def newest(session: Session, adapter_id: int) -> Evaluation | None:
    """Return the latest evaluation of an adapter, or None where it has none."""
    row = session.scalars(
        select(ClassificationEvaluationRow)
        .where(ClassificationEvaluationRow.adapter_id == adapter_id)
        .order_by(ClassificationEvaluationRow.id.desc())
        .limit(1)
    ).one_or_none()
    return None if row is None else _evaluation(row, _checks(session, row.id))


def find(session: Session, evaluation_id: int) -> Evaluation:
    """Return one evaluation; RecordMissing where there is none."""
    row = session.get(ClassificationEvaluationRow, evaluation_id)
    if row is None:
        raise RecordMissing(f"there is no evaluation {evaluation_id}")
    return _evaluation(row, _checks(session, row.id))


def _checks(session: Session, evaluation_id: int) -> tuple[Check, ...]:
    query = (
        select(ClassificationCheckRow)
        .where(ClassificationCheckRow.evaluation_id == evaluation_id)
        .order_by(ClassificationCheckRow.position)
    )
    return tuple(
        Check(row.name, Verdict(row.verdict), row.reason, row.value, row.bound, row.blocks)
        for row in session.scalars(query)
    )


def _check_row(evaluation_id: int, position: int, check: Check) -> ClassificationCheckRow:
    return ClassificationCheckRow(
        evaluation_id=evaluation_id,
        position=position,
        name=check.name,
        verdict=check.verdict.value,
        blocks=check.blocks,
        value=check.value,
        bound=check.bound,
        reason=check.reason,
    )


def _evaluation(row: ClassificationEvaluationRow, checks: tuple[Check, ...]) -> Evaluation:
    judgement = Judgement(row.evaluation_sha256, checks, row.attends_to_lesion, row.metrics, row.card, row.code_version)
    return Evaluation(row.id, row.adapter_id, judgement, row.evaluated_by, row.evaluated_at)
