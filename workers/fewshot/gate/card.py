"""The model card: what must be said of an adapter before anybody may rely on it, and whether it is."""

from __future__ import annotations

from dataclasses import dataclass, fields

from storage.fewshot.verdicts import Check, Verdict

ATTENTION_CLAIM = "The marked region decides: masks of other items cost accuracy (see the check shuffled-masks)."
NO_CLAIM = "No claim is made that the marked region decides."


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What the card says; every field must hold something."""

    task: str
    intended_use: str
    not_for: str
    classes: str
    backbone: str
    licence: str
    commercial_use: str
    visual_prompt: str
    mask_source: str
    head: str
    freeze: str
    seed: str
    support: str
    calibration: str
    evaluation: str
    metrics: str
    conformal: str
    attention: str
    abstains: str
    reviewer: str
    date: str


def check_card(card: ModelCard) -> Check:
    """Ask that nothing on the card was left empty."""
    empty = [field.name for field in fields(card) if not str(getattr(card, field.name)).strip()]
    total = len(fields(card))
    if empty:
        return Check("card", Verdict.FAIL, f"not stated: {', '.join(empty)}", total - len(empty), total)
    return Check("card", Verdict.PASS, f"all {total} fields are stated", total, total)


def render(card: ModelCard, checks: tuple[Check, ...]) -> str:
    """Write the card as Markdown, with the table of checks."""
    lines = [f"# Model card: {card.task}", "", "| | |", "|---|---|"]
    lines += [f"| {field.name.replace('_', ' ')} | {_cell(getattr(card, field.name))} |" for field in fields(card)]
    lines += ["", "## Checks", "", "| check | verdict | what was found |", "|---|---|---|"]
    lines += [f"| {check.name} | {check.verdict.value} | {_cell(check.reason)} |" for check in checks]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "/")
