"""`oncue evaluate segmentation`: compare masks with the experts', beside baselines on the same cases."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from console.commands.evaluate.family_table import HEADERS, figures_row, interval, show_family
from console.commands.laboratory import laboratory
from console.terminal.options import DEFAULT_STATE, AsJson, ConfigFile, State

if TYPE_CHECKING:
    from lab.segmentation.ablation import AblationTable
    from lab.segmentation.case_selection import Selection
    from lab.segmentation.plain_family import PlainFamily
    from lab.segmentation.predictions import EvaluationSetup
    from lab.segmentation.report import SegmentationReport
    from lab.segmentation.unseen_networks import UnseenNetworks
    from workers.segmentation.families import Family

Cases = Annotated[
    Path,
    typer.Option(
        "--cases",
        metavar="DIR",
        exists=True,
        file_okay=False,
        help="Folder of cases: .npz files, images.csv with image and mask files, or DICOM series with a SEG.",
    ),
]
Mode = Annotated[
    str | None,
    typer.Option("--mode", metavar="M", help="fast, balanced or paper; default: as configured. Families have one."),
]
Prompt = Annotated[
    str | None, typer.Option("--prompt", metavar="P", help="What to look for, in words; of families for head-mr alone.")
]
EveryCase = Annotated[
    bool, typer.Option("--all", help="Also patients whom the weights have seen; default: all others, if any.")
]
ReportFolder = Annotated[
    Path | None,
    typer.Option(
        "--report",
        metavar="DIR",
        file_okay=False,
        help="Folder for the report; default: out/evaluation-M. Not for families.",
    ),
]
Modality = Annotated[
    str, typer.Option("--modality", metavar="CS", help="Modality of cases that do not say it: MR, CT, US.")
]
Where = Annotated[
    list[str] | None,
    typer.Option(
        "--where", metavar="COLUMN=VALUE", help="Only such rows of images.csv; repeated values are alternatives."
    ),
]
CaseLimit = Annotated[
    int | None, typer.Option("--limit", metavar="N", min=1, help="So many cases, the same ones every time.")
]
FamilyName = Annotated[
    str | None,
    typer.Option(
        "--family", metavar="NAME", help="Segment by this family's network; default: that of the route for such images."
    ),
]
FamilyWeights = Annotated[
    Path | None,
    typer.Option(
        "--weights", metavar="DIR", exists=True, file_okay=False, help="A family's weights; default: installed."
    ),
]
Tuning = Annotated[
    bool, typer.Option("--tuning", help="Only patients on whose tumours thresholds may be fixed: no test of anything.")
]
Ablation = Annotated[
    bool, typer.Option("--ablation", help="Instead: one table of what each part of the method adds. Not for families.")
]


def evaluate_segmenter(
    cases: Cases,
    state: State = DEFAULT_STATE,
    *,
    config: ConfigFile = None,
    mode: Mode = None,
    prompt: Prompt = None,
    every_case: EveryCase = False,
    report: ReportFolder = None,
    modality: Modality = "MR",
    where: Where = None,
    limit: CaseLimit = None,
    family: FamilyName = None,
    family_weights: FamilyWeights = None,
    tuning: Tuning = False,
    ablation: Ablation = False,
    as_json: AsJson = False,
) -> None:
    """Segment labelled cases and compare with the experts' masks, beside baselines on the same cases.

    Example: oncue evaluate segmentation --cases ../shared/data/brain-mri-lgg --mode fast
    """
    from console.config import read

    worker = read(state, file=config).settings.worker
    pairs = tuple(_pair(text) for text in where or ())
    with laboratory():
        from lab.segmentation.case_families import folder_of_family
        from lab.segmentation.case_selection import CaseFilter, select_cases
        from lab.segmentation.plain_family import PlainFamily
        from lab.segmentation.predictions import EvaluationSetup
        from lab.segmentation.unseen_networks import UnseenNetworks
        from workers.config import SEGMENTATION_FOLDER
        from workers.segmentation.family_calibration import read_calibration
        from workers.segmentation.family_segmenter import FamilySegmenter, installed_family
    wanted = CaseFilter(modality.upper(), pairs, seen_too=every_case, tuning_only=tuning, limit=limit)
    models = worker.models_folder()
    folder = family_weights or (installed_family(models, family) if family else None)
    folder = folder or folder_of_family(models, cases, modality.upper())
    if folder is not None:
        known = read_calibration(folder).family
        _refuse_other_output(known, report=report, ablation=ablation)
        _note_unused(known, mode=mode, prompt=prompt)
        selection = select_cases(cases, wanted, weights=folder)
        plain = PlainFamily.installed(models, known)
        networks = UnseenNetworks.read(FamilySegmenter.load(folder, named=family), folder)
        asked = worker.prompt if prompt is None else prompt
        _evaluate_family(selection, networks, plain, prompt=asked, as_json=as_json)
        return
    selection = select_cases(cases, wanted, weights=models / SEGMENTATION_FOLDER)
    setup = EvaluationSetup.load(worker, mode=mode, prompt=prompt)
    if ablation:
        _ablate(selection, setup, as_json=as_json)
    else:
        _evaluate(selection, setup, report or Path(f"out/evaluation-{setup.mode}"), as_json=as_json)


def _pair(text: str) -> tuple[str, str]:
    column, equals, value = text.partition("=")
    if not equals or not column:
        raise typer.BadParameter(f"{text!r} is not COLUMN=VALUE", param_hint="--where")
    return column, value


def _refuse_other_output(family: Family, *, report: Path | None, ablation: bool) -> None:
    """Refuse to be asked for what only the zero-shot model's evaluation writes."""
    unused = [name for name, given in (("--report", report), ("--ablation", ablation)) if given]
    if unused:
        raise typer.BadParameter(f"the family {family.name} has none: leave it out", param_hint=unused)


def _note_unused(family: Family, *, mode: str | None, prompt: str | None) -> None:
    """Say of a mode, and of a prompt that the family's network would not hear, that they change nothing."""
    heard = prompt is None or family.prompted
    unused = [name for name, idle in (("--mode", mode is not None), ("--prompt", not heard)) if idle]
    if unused:
        sys.stderr.write(f"oncue: the family {family.name} has no use for {' and '.join(unused)}\n")


def _evaluate(selection: Selection, setup: EvaluationSetup, folder: Path, *, as_json: bool) -> None:
    from console.terminal.output import write_json

    with laboratory():
        from lab.segmentation import report_folder
        from lab.segmentation.evaluation import evaluate_segmentation
    report_folder.prepare(folder)
    with _case_counter(len(selection.evaluated)) as count:
        evaluation = evaluate_segmentation(
            selection.evaluated, setup, on_case=lambda figures: count(f"{figures.case}: Dice {figures.dice:.3f}")
        )
    report_folder.write(evaluation, folder)
    sys.stderr.write(f"report: {folder / report_folder.HTML_NAME}\n")
    if as_json:
        write_json(evaluation.report.to_json())
    else:
        _show_report(evaluation.report)


def _evaluate_family(
    selection: Selection, networks: UnseenNetworks, plain: PlainFamily | None, *, prompt: str, as_json: bool
) -> None:
    from console.terminal.output import write_json

    with laboratory():
        from lab.segmentation.family_evaluation import evaluate_family
    with _case_counter(len(selection.evaluated)) as count:
        report = evaluate_family(
            selection.evaluated,
            networks,
            plain=plain,
            prompt=prompt,
            on_case=lambda case: count(f"{case.case}: Dice {case.dice:.3f}"),
        )
    if as_json:
        write_json(report.to_json())
    else:
        show_family(report)


def _ablate(selection: Selection, setup: EvaluationSetup, *, as_json: bool) -> None:
    from console.terminal.output import write_json

    with laboratory():
        from lab.segmentation.ablation import ablate
    with _case_counter(len(selection.evaluated) + len(selection.tuning)) as count:
        table = ablate(selection.evaluated, setup, tuning=selection.tuning, on_case=count)
    if as_json:
        write_json(table.to_json())
    else:
        _show_ablation(table)


@contextmanager
def _case_counter(total: int) -> Iterator[Callable[[str], None]]:
    """Count cases on standard error, each with what came of it: a bar on a terminal, a line each into a pipe."""
    numbers = itertools.count(1)
    if not sys.stderr.isatty():

        def write(text: str) -> None:
            sys.stderr.write(f"{next(numbers)}/{total} {text}\n")

        yield write
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=total)
        yield lambda text: bar.update(task, advance=1, description=text)


def _show_report(report: SegmentationReport) -> None:
    from console.terminal.output import write_line, write_table
    from lab.segmentation.page import WAY_NAMES
    from lab.segmentation.predictions import Way

    rows = [figures_row(f"{WAY_NAMES[Way.METHOD]}, {report.mode}", report.overall)]
    rows += [figures_row(WAY_NAMES[way], figures) for way, figures in report.baselines.items() if figures]
    write_table(f"Segmentation of {len(report.per_case)} cases, prompt «{report.prompt}»", HEADERS, rows, empty="")
    write_line(f"{report.cpu_seconds_per_case:.1f} CPU-seconds per case, weights {report.weights[:12]}")
    for note in report.notes:
        write_line(f"note: {note}")


def _show_ablation(table: AblationTable) -> None:
    from console.terminal.output import write_line, write_table

    rows = [
        (*figures_row(row.part, row.figures), interval(row.best_dice), row.level, row.peak, row.best_level)
        for row in table.rows
    ]
    headers = (
        "score", "Dice", "NSD at 2 mm", "AUPRC", "false alarms", "slice AUROC", "Dice at the best level", "level",
        "peak", "best level",
    )  # fmt: skip # reads by its lines
    write_table(f"Parts of the method on {table.cases} cases, mode {table.mode}", headers, rows, empty="")
    fixed = f"fixed on {table.tuning_cases} tuning cases" if table.tuning_cases else "the mode's own threshold"
    write_line(f"level and peak: {fixed}; weights {table.weights[:12]}")
    write_line("best level: chosen on these very cases and without any component rule, an upper bound of a threshold")
