"""The report as one HTML page: tables, charts and pictures, with nothing loaded from anywhere, in light and dark."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from lab.segmentation import pictures
from lab.segmentation.charts import Bar, Strip, bar_plot, strip_plot
from lab.segmentation.predictions import Way

if TYPE_CHECKING:
    from lab.bootstrap import Estimate
    from lab.segmentation.evaluation import SegmentationEvaluation
    from lab.segmentation.measuring import Figures
    from lab.segmentation.report import CaseFigures, SegmentationReport

TEMPLATE = Path(__file__).with_name("report.html.jinja")
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
    """Return the whole page."""
    report = evaluation.report
    rows = [_way_row(WAY_NAMES[Way.METHOD], report.overall)]
    rows += [_way_row(WAY_NAMES[way], figures) for way, figures in report.baselines.items() if figures]
    return (
        _environment()
        .get_template(TEMPLATE.name)
        .render(
            report=report,
            way_headers=OVERALL_HEADERS,
            way_rows=rows,
            charts=[Markup(chart) for chart in _charts(report)],  # noqa: S704 - charts escape what they are given
            examples=evaluation.examples,
            case_headers=CASE_HEADERS,
            case_rows=[_case_row(case) for case in report.per_case],
        )
    )


def _environment() -> Environment:
    environment = Environment(loader=FileSystemLoader(TEMPLATE.parent), autoescape=True, undefined=StrictUndefined)
    environment.filters |= {
        "interval": _interval,
        "number": _number,
        "pictures": pictures.draw,
        "base64": lambda content: base64.b64encode(content).decode("ascii"),
    }
    return environment


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


def _charts(report: SegmentationReport) -> list[str]:
    """Draw the Dice of every case by way, and of the method by case where there are not too many."""
    strips = [Strip(WAY_NAMES[Way.METHOD], tuple(case.dice for case in report.per_case), report.overall.dice)]
    for way, figures in report.baselines.items():
        if figures:
            values = tuple(dict(case.baseline_dice)[way] for case in report.per_case)
            strips.append(Strip(WAY_NAMES[way], values, figures.dice))
    drawn = [strip_plot(strips, title="Dice of every case by way to segment")]
    if len(report.per_case) <= MOST_BARS:
        ordered = sorted(report.per_case, key=lambda case: -case.dice)
        drawn.append(bar_plot([Bar(case.case, case.dice) for case in ordered], title="Dice of oncue by case"))
    return drawn


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
