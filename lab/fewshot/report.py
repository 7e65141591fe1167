"""A study as a table: for the terminal, and as HTML, PNG and JSON files that need no other program."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from pathlib import Path

from lab.fewshot.chart import draw_chart
from lab.fewshot.document import to_json
from lab.fewshot.measures import Figure
from lab.fewshot.runs import Run

HEADERS = ("backbone", "prompt", "masks", "head", "freeze", "learned from", "accuracy", "F1", "AUROC", "wrong masks")
_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Few-shot classification</title>
<style>body{{font:15px system-ui;margin:2rem;max-width:90rem}}table{{border-collapse:collapse}}
td,th{{padding:.3rem .7rem;border-bottom:1px solid #ccc;text-align:left}}img{{max-width:100%}}</style>
<h1>Few-shot classification</h1>
<p>Means over seeds with 95 % intervals that draw whole patients anew. «Wrong masks» repeats the run with the masks of
other pictures: an accuracy that does not fall means that the gain is not attention to the region.</p>
<img src="report.png" alt="Accuracy against what was learned from"><table><tr>{head}</tr>{body}</table>{groups}</html>
"""


def row(one: Run) -> tuple[str, ...]:
    """Return the cells of a run under HEADERS."""
    setting, amount = one.setting, one.setting.amount
    learned = f"{amount.share:g} %" if amount.share is not None else f"K={amount.shots}"
    if setting.thinning is not None:
        learned += f", {setting.thinning.kept:.0%} of sex {setting.thinning.sex}"
    control = "-" if one.control is None else text_of(one.control.measures.accuracy)
    return (
        setting.backbone,
        setting.prompt.value,
        setting.masks.value,
        setting.head,
        setting.freeze,
        f"{learned} ({one.support:.0f})",
        text_of(one.measures.accuracy),
        text_of(one.measures.f1),
        text_of(one.measures.auroc),
        control,
    )


def text_of(figure: Figure) -> str:
    """Write a figure with its interval."""
    if figure.mean is None:
        return "-"
    if figure.lo is None or figure.hi is None:
        return f"{figure.mean:.3f}"
    return f"{figure.mean:.3f} ({figure.lo:.3f} to {figure.hi:.3f})"


def write_report(runs: Sequence[Run], folder: Path) -> None:
    """Write ``report.json``, ``report.html`` and ``report.png``; no picture of the data is in them."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(json.dumps(to_json(runs), indent=2) + "\n", encoding="utf-8")
    draw_chart(runs, folder / "report.png")
    head = "".join(f"<th>{escape(name)}</th>" for name in HEADERS)
    body = "".join(_line(row(one)) for one in runs)
    (folder / "report.html").write_text(_PAGE.format(head=head, body=body, groups=_groups(runs)), encoding="utf-8")


def _line(cells: Sequence[str]) -> str:
    return "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"


def _groups(runs: Sequence[Run]) -> str:
    lines = [
        _line((*row(one)[:6], name, f"{part.pictures:.0f}", text_of(part.accuracy), text_of(part.f1)))
        for one in runs
        for name, part in one.groups.items()
    ]
    if not lines:
        return ""
    head = "".join(f"<th>{name}</th>" for name in (*HEADERS[:6], "subgroup", "pictures", "accuracy", "F1"))
    return f"<h2>Subgroups</h2><table><tr>{head}</tr>{''.join(lines)}</table>"
