"""The table at the end of a demonstration."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from console.demo.demonstrated_study import DemonstratedStudy
from console.result_words import why_not_sent
from storage.domain import Presence
from storage.held_results import NOTHING_FOUND
from storage.worklist import StudyEntry


def show(outcome: DemonstratedStudy, console: Console) -> None:
    """Print what came of a study."""
    table = Table(show_header=False, title="Result", title_justify="left", title_style="bold")
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _rows(outcome):
        table.add_row(name, escape(value))
    console.print(table)


def _rows(outcome: DemonstratedStudy) -> Iterator[tuple[str, str]]:
    entry, result = outcome.dossier.entry, outcome.dossier.result
    yield "study", entry.study_instance_uid
    yield "state", f"{entry.state} (revision {entry.revision}, {entry.instances} images)"
    if outcome.is_set_aside:
        for reason in outcome.dossier.entry.reasons:
            yield "set aside", reason
        return
    if entry.code:
        job = outcome.dossier.jobs[0]
        yield "code", f"{job.code}: {job.reason}"
    if result is not None:
        lesions = sum(finding.presence is Presence.PRESENT for finding in result.findings)
        yield "finding", _finding(entry, lesions)
        yield "confidence", f"{entry.confidence or 0.0:.2f}"
        yield "volume", f"{entry.volume_ml or 0.0:.1f} ml"
        if outcome.dice is not None:
            yield "Dice", f"{outcome.dice:.3f} (SEG as the PACS received it, against the phantom's truth)"
        yield "priority", f"{result.decision.priority} by rule «{result.decision.rule}»"
        if result.withheld:
            yield "delivery", why_not_sent(result.withheld)
        yield "seconds", ", ".join(f"{timing.stage} {timing.seconds:.2f}" for timing in result.timings)
    yield "SEG received", str(outcome.segmentation.SOPInstanceUID) if outcome.segmentation else "none"
    yield "SR received", str(outcome.report.SOPInstanceUID) if outcome.report else "none"


def _finding(entry: StudyEntry, lesions: int) -> str:
    if entry.finding == NOTHING_FOUND:
        return "nothing found"
    label = f", {entry.label}" if entry.label else ""
    return f"{entry.finding}{label}" + (f" ({lesions} separate ones)" if lesions > 1 else "")
