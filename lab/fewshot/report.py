"""An experiment as a table: for the terminal, and as HTML, PNG and JSON files that need no other program."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from lab.fewshot.measures import Figure, Measures
from lab.fewshot.runs import ExperimentRun

HEADERS = ("backbone", "prompt", "masks", "head", "freeze", "learned from", "accuracy", "F1", "AUROC", "wrong masks")
GROUP_HEADERS = (*HEADERS[:6], "subgroup", "pictures", "accuracy", "F1")
_LINE_INCHES = 0.22
_BAR, _WRONG = "#3a6ea5", "#c88c3c"


def row(one: ExperimentRun) -> tuple[str, ...]:
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


def group_rows(runs: Sequence[ExperimentRun]) -> list[tuple[str, ...]]:
    """Return one row of cells under GROUP_HEADERS for each subgroup of each run."""
    return [
        (*row(one)[:6], name, f"{part.pictures:.0f}", text_of(part.accuracy), text_of(part.f1))
        for one in runs
        for name, part in one.groups.items()
    ]


def text_of(figure: Figure) -> str:
    """Write a figure with its interval."""
    if figure.mean is None:
        return "-"
    if figure.lo is None or figure.hi is None:
        return f"{figure.mean:.3f}"
    return f"{figure.mean:.3f} ({figure.lo:.3f} to {figure.hi:.3f})"


def to_json(runs: Sequence[ExperimentRun]) -> dict[str, object]:
    """Return ``{"runs": [...]}`` with one object for each run; figures are shares of 1."""
    return {"runs": [_run_object(one) for one in runs]}


def write_report(runs: Sequence[ExperimentRun], folder: Path) -> None:
    """Write ``report.json``, ``report.html`` and ``report.png``; no picture of the data is in them."""
    from jinja2 import Environment, PackageLoader

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(json.dumps(to_json(runs), indent=2) + "\n", encoding="utf-8")
    draw_chart(runs, folder / "report.png")
    page = Environment(loader=PackageLoader("lab.fewshot", ""), autoescape=True).get_template("report.html")
    content = page.render(
        headers=HEADERS, runs=[row(one) for one in runs], group_headers=GROUP_HEADERS, groups=group_rows(runs)
    )
    (folder / "report.html").write_text(content + "\n", encoding="utf-8")


def draw_chart(runs: Sequence[ExperimentRun], path: Path) -> None:
    """Write a PNG: one bar of accuracy for each run, below it that of the wrong-mask control where there is one."""
    from matplotlib.figure import Figure as Canvas

    bars = [bar for one in runs for bar in _bars(one)]
    canvas = Canvas(figsize=(12, _LINE_INCHES * (len(bars) + 3)), layout="constrained")
    axes = canvas.subplots()
    for place, (_, figure, colour) in enumerate(bars):
        if figure.mean is not None:
            axes.barh(place, figure.mean, color=colour)
        if figure.lo is not None and figure.hi is not None:
            axes.hlines(place, figure.lo, figure.hi, colors="#282828", linewidth=2)
    axes.set_yticks(range(len(bars)), [name for name, _, _ in bars])
    axes.set_xlim(0.0, 1.0)
    axes.set_xlabel("accuracy")
    axes.grid(axis="x", color="#e1e1e1")
    axes.set_axisbelow(True)
    axes.invert_yaxis()
    canvas.savefig(path)


def _bars(one: ExperimentRun) -> list[tuple[str, Figure, str]]:
    bars = [(_name(one), one.measures.accuracy, _BAR)]
    return bars if one.control is None else [*bars, ("wrong masks", one.control.measures.accuracy, _WRONG)]


def _name(one: ExperimentRun) -> str:
    setting, amount = one.setting, one.setting.amount
    learned = f"{amount.share:g} %" if amount.share is not None else f"K={amount.shots}"
    sex = "" if setting.thinning is None else f", {setting.thinning.kept:.0%} of {setting.thinning.sex}"
    return f"{setting.backbone}, {setting.prompt.value}, {setting.head}, {setting.freeze}, {learned}{sex}"


def _run_object(one: ExperimentRun) -> dict[str, object]:
    setting = one.setting
    content: dict[str, object] = {
        "backbone": setting.backbone,
        "prompt": setting.prompt.value,
        "masks": setting.masks.value,
        "head": setting.head,
        "freeze": setting.freeze,
        "share": setting.amount.share,
        "shots": setting.amount.shots,
        "support": one.support,
        **_measures_object(one.measures),
        "groups": {name: _measures_object(part) for name, part in one.groups.items()},
    }
    if setting.thinning is not None:
        content["thinned"] = asdict(setting.thinning)
    if one.control is not None:
        content["control"] = {**_measures_object(one.control.measures), "drop": one.control.drop}
    return content


def _measures_object(part: Measures) -> Mapping[str, object]:
    return {
        "pictures": part.pictures,
        "accuracy": asdict(part.accuracy),
        "f1": asdict(part.f1),
        "auroc": asdict(part.auroc),
    }
