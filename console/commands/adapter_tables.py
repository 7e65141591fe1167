"""The few-shot workflow as tables for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from console.commands.output import write_line, write_table

if TYPE_CHECKING:
    from console.fewshot.schemas import EvaluationForm, TaskDetailForm


def write_task(form: TaskDetailForm) -> None:
    """Write a task with its items, adapters, decisions and checks."""
    task = form.task
    write_line(f"{task.name}: {', '.join(task.classes)} (positive: {task.positive_class})")
    write_line(f"for: {task.intended_use}")
    write_line(f"not for: {task.not_for}\n")
    rows = [(split, label, count) for split, labels in form.items.items() for label, count in labels.items()]
    write_table("Items", ("split", "label", "items"), rows, empty="no items yet")
    adapters = [
        (
            one.id,
            one.version,
            "predicts" if one.id == task.predicting else "",
            one.head,
            one.prompt,
            one.backbone,
            one.verdict,
        )
        for one in form.adapters
    ]
    headers = ("adapter", "version", "now", "head", "prompt", "backbone", "verdict")
    write_table("Adapters", headers, adapters, empty="no adapter was fitted yet")
    decisions = [(one.decided_at[:19], one.decision, one.adapter, one.actor, one.reason) for one in form.promotions]
    write_table("Decisions", ("at", "decision", "adapter", "by", "reason"), decisions, empty="nothing was decided yet")
    if form.evaluation:
        write_checks(form.evaluation)


def write_checks(form: EvaluationForm) -> None:
    """Write what the gate said, check by check."""
    rows = [
        (one.name, one.verdict, one.value, one.bound, "" if one.blocks else "no", one.reason) for one in form.checks
    ]
    title = f"Gate: adapter {form.adapter} {form.verdict.value}"
    write_table(title, ("check", "verdict", "value", "bound", "blocks", "what was found"), rows, empty="no checks")
