"""Promotions: which adapter a task predicts with, who decided so, and over which checks. History is only added to."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import ScalarSelect, Select, func, select
from sqlalchemy.orm import Session

from storage import audit
from storage.errors import IllegalTransition
from storage.fewshot import adapters, evaluations, items, tasks
from storage.fewshot.adapters import Adapter
from storage.fewshot.errors import ItemRefused
from storage.fewshot.evaluations import Evaluation
from storage.fewshot.items import Split
from storage.fewshot.tables import ClassificationPromotionRow, ClassificationTaskRow
from storage.fewshot.tasks import Task
from storage.fewshot.verdicts import Verdict

NONE_PROMOTED = "task_not_promoted"
"""Code of a job that waits because no adapter of its few-shot task, or none that fits its images, may predict."""


class Decision(StrEnum):
    """What became of a wish to change the adapter that predicts."""

    PROMOTED = "promoted"
    ROLLED_BACK = "rolled-back"
    REFUSED = "refused"


_HOLDS = ClassificationPromotionRow.decision != Decision.REFUSED.value


@dataclass(frozen=True, slots=True)
class Override:
    """One check that somebody lets pass although it has too little data to say, and why."""

    check: str
    reason: str


@dataclass(frozen=True, slots=True)
class Promotion:
    """One decision on record; ``reason`` names the checks that stood in the way of a refused one."""

    id: int
    adapter_id: int
    evaluation_id: int
    decision: Decision
    overrides: tuple[Override, ...]
    reason: str
    actor: str
    decided_at: datetime


def promote(
    session: Session,
    task: Task,
    adapter: Adapter,
    *,
    overrides: Sequence[Override],
    reason: str,
    actor: str,
    now: datetime,
) -> Promotion:
    """Let an adapter predict where the gate allows it, else record that it was refused, and why.

    An override lets one INSUFFICIENT check pass, by its name and with a reason; a FAIL cannot be overridden.
    IllegalTransition where the adapter was never evaluated, or on items that have changed since.
    """
    tasks.take(session, task)
    if adapter.task_id != task.id:
        raise IllegalTransition(f"adapter {adapter.id} belongs to another task than {task.name}")
    evaluation = _evaluation_of(session, task, adapter)
    _check_overrides(evaluation, overrides)
    waived = {override.check for override in overrides}
    standing = [
        check.name
        for check in evaluation.judgement.checks
        if check.stands_in_the_way and not (check.verdict is Verdict.INSUFFICIENT and check.name in waived)
    ]
    decision = Decision.REFUSED if standing else Decision.PROMOTED
    words = f"stands in the way: {', '.join(standing)}" if standing else reason
    return _decide(
        session, task, adapter.id, evaluation.id, decision, overrides=overrides, reason=words, actor=actor, now=now
    )


def roll_back(session: Session, task: Task, *, reason: str, actor: str, now: datetime) -> Promotion:
    """Let the adapter predict again that did before the current one; IllegalTransition where there was none."""
    tasks.take(session, task)
    if not reason.strip():
        raise ItemRefused("say why the task is rolled back")
    stack = _stack(session, task)
    if len(stack) < 2:  # noqa: PLR2004 - the current one and one before it
        raise IllegalTransition(f"task {task.name} has no earlier adapter to go back to")
    before = stack[-2]
    return _decide(
        session,
        task,
        before.adapter_id,
        before.evaluation_id,
        Decision.ROLLED_BACK,
        overrides=before.overrides,
        reason=reason,
        actor=actor,
        now=now,
    )


def current(session: Session, task: Task) -> Promotion | None:
    """Return the decision that holds: None while no adapter of the task may predict."""
    query = _query(task).where(_HOLDS).order_by(ClassificationPromotionRow.id.desc())
    row = session.scalars(query.limit(1)).one_or_none()
    return None if row is None else _promotion(row)


def predicting() -> Select[str]:
    """Return the query for the names of the tasks that predict; no decision takes a task's last adapter away."""
    return select(ClassificationTaskRow.name).where(
        ClassificationTaskRow.id.in_(select(ClassificationPromotionRow.task_id).where(_HOLDS))
    )


def newest_decision() -> ScalarSelect[datetime]:
    """Return the query for the time at which an adapter was last let predict; NULL where none ever was."""
    return select(func.max(ClassificationPromotionRow.decided_at)).where(_HOLDS).scalar_subquery()


def history(session: Session, task: Task) -> tuple[Promotion, ...]:
    """Return every decision, oldest first."""
    return tuple(_promotion(row) for row in session.scalars(_query(task).order_by(ClassificationPromotionRow.id)))


def promoted_adapter(session: Session, task: Task) -> Adapter | None:
    """Return the adapter that the task predicts with."""
    found = current(session, task)
    return None if found is None else adapters.find(session, found.adapter_id)


def _stack(session: Session, task: Task) -> list[Promotion]:
    """Return the promotions that stand behind each other: a rollback takes the last one off."""
    stack: list[Promotion] = []
    for promotion in history(session, task):
        if promotion.decision is Decision.PROMOTED:
            stack.append(promotion)
        elif promotion.decision is Decision.ROLLED_BACK:
            stack.pop()
    return stack


def _evaluation_of(session: Session, task: Task, adapter: Adapter) -> Evaluation:
    evaluation = evaluations.newest(session, adapter.id)
    if evaluation is None:
        raise IllegalTransition(
            f"adapter {adapter.id} was never evaluated: `oncue classification evaluate {adapter.id}`"
        )
    present = items.snapshot_sha256(items.in_use(session, task, Split.EVALUATION))
    if present != evaluation.judgement.evaluation_sha256:
        raise IllegalTransition(
            f"the evaluation items of {task.name} have changed: evaluate adapter {adapter.id} again"
        )
    return evaluation


def _check_overrides(evaluation: Evaluation, overrides: Sequence[Override]) -> None:
    insufficient = {
        check.name
        for check in evaluation.judgement.checks
        if check.stands_in_the_way and check.verdict is Verdict.INSUFFICIENT
    }
    for override in overrides:
        if not override.reason.strip():
            raise ItemRefused(f"the override of {override.check} needs a reason")
        if override.check not in insufficient:
            known = ", ".join(sorted(insufficient)) or "none"
            raise ItemRefused(f"{override.check!r} cannot be overridden; INSUFFICIENT checks that can: {known}")


def _decide(
    session: Session,
    task: Task,
    adapter_id: int,
    evaluation_id: int,
    decision: Decision,
    *,
    overrides: Sequence[Override],
    reason: str,
    actor: str,
    now: datetime,
) -> Promotion:
    row = ClassificationPromotionRow(
        task_id=task.id,
        adapter_id=adapter_id,
        evaluation_id=evaluation_id,
        decision=decision.value,
        overrides=json.dumps([asdict(override) for override in overrides]),
        reason=reason,
        actor=actor,
        decided_at=now,
    )
    session.add(row)
    session.flush()
    audit.record(
        session,
        f"adapter:{decision.value}",
        f"task/{task.name}",
        actor=actor,
        now=now,
        details={
            "adapter": adapter_id,
            "evaluation": evaluation_id,
            "overrides": ", ".join(f"{override.check}: {override.reason}" for override in overrides),
            "reason": reason,
        },
    )
    return _promotion(row)


def _query(task: Task) -> Select[ClassificationPromotionRow]:
    return select(ClassificationPromotionRow).where(ClassificationPromotionRow.task_id == task.id)


def _promotion(row: ClassificationPromotionRow) -> Promotion:
    return Promotion(
        id=row.id,
        adapter_id=row.adapter_id,
        evaluation_id=row.evaluation_id,
        decision=Decision(row.decision),
        overrides=tuple(Override(**entry) for entry in json.loads(row.overrides)),
        reason=row.reason,
        actor=row.actor,
        decided_at=row.decided_at,
    )
