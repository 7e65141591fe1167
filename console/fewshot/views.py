"""What pages, API and command line read of the few-shot workflow, on an open session."""

from __future__ import annotations

from collections import Counter

from sqlalchemy.orm import Session

from console.fewshot.schemas import AdapterForm, EvaluationForm, PromotionForm, TaskDetailForm, TaskForm
from storage.fewshot import adapters, evaluations, items, promotions, tasks
from storage.fewshot.items import Split
from storage.fewshot.tasks import Task


def task_forms(session: Session) -> list[TaskForm]:
    """Return every task with the adapter that it predicts with."""
    return [task_form(session, task) for task in tasks.listed(session)]


def task_form(session: Session, task: Task) -> TaskForm:
    """Return one task with the adapter that it predicts with."""
    present = promotions.current(session, task)
    return TaskForm.model_validate(task).model_copy(update={"predicting": present.adapter_id if present else None})


def task_detail(session: Session, name: str) -> TaskDetailForm:
    """Return a task with everything on record of it; RecordMissing where there is no such task."""
    task = tasks.find(session, name)
    found = adapters.listed(session, task)
    present = promotions.current(session, task)
    shown = present.adapter_id if present else found[0].id if found else None
    evaluation = evaluations.newest(session, shown) if shown is not None else None
    return TaskDetailForm(
        task=task_form(session, task),
        items=_counts(session, task),
        adapters=[adapter_form(session, adapter.id) for adapter in found],
        promotions=[PromotionForm.model_validate(promotion) for promotion in promotions.history(session, task)],
        evaluation=EvaluationForm.model_validate(evaluation) if evaluation else None,
    )


def adapter_form(session: Session, adapter_id: int) -> AdapterForm:
    """Return one adapter with the verdict of its newest evaluation; RecordMissing where there is none."""
    evaluation = evaluations.newest(session, adapter_id)
    form = AdapterForm.model_validate(adapters.find(session, adapter_id))
    return form.model_copy(update={"verdict": evaluation.judgement.verdict if evaluation else None})


def _counts(session: Session, task: Task) -> dict[str, dict[str, int]]:
    """Count the items of each split by label."""
    return {
        split.value: dict(sorted(Counter(item.label for item in items.in_use(session, task, split)).items()))
        for split in Split
    }
