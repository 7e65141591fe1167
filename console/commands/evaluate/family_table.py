"""The table of one family: what its network gives, beside the simple rule on the same cases."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lab.bootstrap import Estimate
    from lab.segmentation.family_evaluation import FamilyReport
    from lab.segmentation.measuring import Figures

HEADERS = ("way", "Dice (95 % interval over patients)", "NSD at 2 mm", "AUPRC", "false alarms", "slice AUROC")


def show_family(report: FamilyReport) -> None:
    """Write the table of a family to standard output."""
    from console.terminal.output import write_line, write_table

    rows = [figures_row(report.family, report.overall), figures_row(report.simple_rule, report.simple)]
    if report.plain is not None:
        rows.append(figures_row("plain network, single slices", report.plain))
    write_table(f"Segmentation of {len(report.per_case)} cases by the family {report.family}", HEADERS, rows, empty="")
    write_line(f"{report.cpu_seconds_per_case:.1f} CPU-seconds per case, weights {report.weights[:12]}")
    write_line(f"{report.unfamiliar} of {len(report.per_case)} cases are unlike the training images")
    refused = [case.refused for case in report.per_case if case.refused]
    if refused:
        codes = ", ".join(sorted(set(refused)))
        write_line(f"note: {len(refused)} of {len(report.per_case)} refused ({codes}), counted as nothing found")


def figures_row(name: str, figures: Figures) -> tuple[object, ...]:
    """Return what a table of figures says of one way."""
    shown = (figures.dice, figures.nsd, figures.auprc, figures.false_alarm_rate, figures.slice_auroc)
    return (name, *(interval(figure) for figure in shown))


def interval(figure: Estimate | None) -> str | None:
    """Return a figure with its interval; None where it does not exist."""
    return None if figure is None else f"{figure.mean:.3f} ({figure.lo:.3f} to {figure.hi:.3f})"
