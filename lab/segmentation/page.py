"""The report as one HTML page: tables, plots and pictures, with nothing loaded from anywhere, in light and dark."""

from __future__ import annotations

import base64
from html import escape
from typing import TYPE_CHECKING

from lab.segmentation import pictures
from lab.segmentation.charts import Bar, Strip, bar_plot, strip_plot
from lab.segmentation.page_style import STYLE
from lab.segmentation.predictions import Way

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lab.bootstrap import Estimate
    from lab.segmentation.evaluation import Example, SegmentationEvaluation
    from lab.segmentation.measuring import Figures
    from lab.segmentation.report import CaseFigures, SegmentationReport

WAY_NAMES = {
    Way.METHOD: "oncue",
    Way.THRESHOLD_FIXED: "intensity threshold, fixed beforehand",
    Way.THRESHOLD_BEST: "intensity threshold, best on these cases",
    Way.ATTENTION: "attention map alone",
    Way.RESIDUAL: "residual alone",
    Way.SYNTHETIC_UNET: "plain U-Net on painted lesions",
}
MOST_BARS = 60
"""With more cases than this a bar for each one is no longer readable."""
OVERALL_HEADERS = (
    "way", "Dice", "NSD at 2 mm", "HD95, mm", "AUPRC", "false positive, ml", "lesions found", "false alarms",
    "slice AUROC",
)  # fmt: skip # reads by its lines
CASE_HEADERS = (
    "case", "Dice", "NSD", "HD95, mm", "AUPRC", "true ml", "found ml", "false positive, ml", "lesions found",
    "false alarms", "slice AUROC", "case score", "out of distribution", "CPU seconds",
)  # fmt: skip # reads by its lines


def render(evaluation: SegmentationEvaluation) -> str:
    """Write the whole page."""
    report = evaluation.report
    parts = (
        _heading(report),
        _overall(report),
        _plots(report),
        "".join(_example(example) for example in evaluation.examples),
        _per_case(report.per_case),
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>oncue: evaluation of segmentation</title><style>{STYLE}</style></head>"
        f"<body><main>{''.join(parts)}</main></body></html>\n"
    )


def _heading(report: SegmentationReport) -> str:
    facts = (
        f"{len(report.per_case)} cases of {report.patients} patients, mode {report.mode}, prompt "
        f"&ldquo;{escape(report.prompt)}&rdquo;, weights <code>{escape(report.weights[:12])}</code>, "
        f"{report.cpu_seconds_per_case:.1f} CPU-seconds per case"
    )
    notes = "".join(f"<li>{escape(note)}</li>" for note in report.notes)
    return (
        f"<h1>Segmentation, evaluated</h1><p>{facts}.</p>"
        "<p>Intervals are 95 % bootstrap intervals over patients. This page shows images of the cases: keep it where "
        "the images may be kept. Not a medical device.</p>"
        f"<ul>{notes}</ul>"
    )


def _overall(report: SegmentationReport) -> str:
    rows = [_way_row(WAY_NAMES[Way.METHOD], report.overall)]
    rows += [_way_row(WAY_NAMES[way], figures) for way, figures in report.baselines.items() if figures]
    oracle = (
        f"<p>The best single intensity level is {report.oracle.best_level:.3f}. With a level of its own for every "
        f"case, chosen by its truth, the threshold would reach Dice {_interval(report.oracle.per_case_dice)}. "
        f"Case AUROC (cases with tumour against cases without): {_number(report.case_auroc)}.</p>"
    )
    return f"<h2>All cases</h2>{_table('overall', OVERALL_HEADERS, rows)}{oracle}"


def _way_row(name: str, figures: Figures) -> tuple[str, ...]:
    return (
        name,
        _interval(figures.dice),
        _interval(figures.nsd),
        _interval(figures.hd95_mm, digits=1),
        _interval(figures.auprc),
        _interval(figures.false_positive_ml, digits=1),
        _percent(figures.lesion_sensitivity),
        _percent(figures.false_alarm_rate),
        _interval(figures.slice_auroc),
    )


def _plots(report: SegmentationReport) -> str:
    strips = [Strip(WAY_NAMES[Way.METHOD], tuple(case.dice for case in report.per_case), report.overall.dice)]
    for way, figures in report.baselines.items():
        if figures:
            values = tuple(dict(case.baseline_dice)[way] for case in report.per_case)
            strips.append(Strip(WAY_NAMES[way], values, figures.dice))
    drawn = f"<h2>Dice of every case</h2>{strip_plot(strips, title='Dice of every case by way to segment')}"
    if len(report.per_case) > MOST_BARS:
        return drawn
    ordered = sorted(report.per_case, key=lambda case: -case.dice)
    return drawn + bar_plot([Bar(case.case, case.dice) for case in ordered], title="Dice of oncue by case")


def _example(example: Example) -> str:
    figures = "".join(_picture(picture) for picture in pictures.draw(example.shown))
    return (
        f"<h2>{escape(example.reason.capitalize())} case: {escape(example.figures.case)}, "
        f"Dice {example.figures.dice:.3f}</h2>"
        f"<p>Slice {example.shown.z + 1}, true {example.figures.truth_ml:.1f} ml, found "
        f'{example.figures.found_ml:.1f} ml.</p><div class="pictures">{figures}</div>'
    )


def _picture(picture: pictures.Picture) -> str:
    data = base64.b64encode(picture.png).decode("ascii")
    caption = escape(picture.caption)
    return (
        f'<figure><img alt="{caption}" src="data:image/png;base64,{data}"><figcaption>{caption}</figcaption></figure>'
    )


def _per_case(cases: Sequence[CaseFigures]) -> str:
    return f"<h2>Case by case</h2>{_table('cases', CASE_HEADERS, [_case_row(case) for case in cases])}"


def _case_row(case: CaseFigures) -> tuple[str, ...]:
    mask = case.mask
    return (
        f"{case.case} (refused: {case.refused})" if case.refused else case.case,
        _number(mask.dice),
        _number(mask.nsd),
        _number(mask.hd95_mm, digits=1),
        _number(case.auprc),
        _number(case.truth_ml, digits=1),
        _number(case.found_ml, digits=1),
        _number(mask.false_positive_ml, digits=1),
        f"{mask.lesions_found} of {mask.lesions}",
        f"{mask.alarms} of {mask.far_slices}",
        _number(case.slice_auroc),
        _number(case.case_score),
        _number(case.out_of_distribution),
        _number(case.cpu_seconds, digits=1),
    )


def _table(name: str, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col">{escape(header)}</th>' for header in headers)
    body = "".join(
        f'<tr><th scope="row">{escape(first)}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in rest)}</tr>'
        for first, *rest in rows
    )
    return f'<div class="wide"><table id="{name}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _interval(figure: Estimate | None, *, digits: int = 3) -> str:
    if figure is None:
        return "-"
    return f"{figure.mean:.{digits}f} ({figure.lo:.{digits}f} to {figure.hi:.{digits}f})"


def _percent(figure: Estimate | None) -> str:
    if figure is None:
        return "-"
    return f"{100 * figure.mean:.1f} % ({100 * figure.lo:.1f} to {100 * figure.hi:.1f})"


def _number(value: float | None, *, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
