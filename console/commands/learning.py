"""`oncue train` and `oncue evaluate`: make the weights, and measure them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from console.commands.options import DEFAULT_STATE, AsJson, ConfigFile, State

if TYPE_CHECKING:
    from workers.evaluation.segmentation import CaseFigures, Figures, SegmentationReport
    from workers.training.settings import Progress

training = typer.Typer(no_args_is_help=True, help="Make model weights from data.")
evaluation = typer.Typer(no_args_is_help=True, help="Measure models on labelled cases.")

Cases = Annotated[
    Path,
    typer.Option("--cases", metavar="DIR", exists=True, file_okay=False, help="Folder of cases: PATIENT.npz files."),
]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder that receives the weights.")]
Work = Annotated[Path, typer.Option("--work", metavar="DIR", help="Checkpoints; a repeated run goes on from them.")]
Minutes = Annotated[float, typer.Option("--minutes", min=0, help="Stop after so many minutes, to go on later.")]
Threads = Annotated[int, typer.Option("--threads", min=1, help="Processor threads.")]
RandomSeed = Annotated[int, typer.Option("--seed", min=0, help="Seed of everything that is drawn.")]
Mode = Annotated[
    str | None, typer.Option("--mode", metavar="M", help="fast, balanced or paper; default: as configured.")
]
Prompt = Annotated[str | None, typer.Option("--prompt", metavar="P", help="What to look for, in words.")]
EveryCase = Annotated[
    bool, typer.Option("--all", help="Also cases that training has seen; default: those kept out, where there are any.")
]


@training.command("foundation")
def train_foundation_model(
    cases: Cases,
    *,
    out: Out = Path("out/foundation"),
    work: Work = Path("out/training"),
    minutes: Minutes = 60.0,
    threads: Threads = 2,
    seed: RandomSeed = 0,
) -> None:
    """Train the segmentation model's autoencoder, denoiser and adapters; repeat the command to go on.

    Example: oncue train foundation --cases ../shared/data/brain-mri-lgg --minutes 60
    """
    from console.commands.output import write_line
    from workers.training.run import train_foundation
    from workers.training.settings import TrainingSettings

    def report(progress: Progress) -> None:
        write_line(
            f"{progress.stage.value} {progress.step}/{progress.steps} loss {progress.loss:.4f} {progress.seconds:.0f} s"
        )

    settings = TrainingSettings(cases, out, work, seed=seed, threads=threads, deadline_minutes=minutes)
    result = train_foundation(settings, on_progress=report)
    write_line(f"finished after {result.seconds:.0f} s: {', '.join(result.finished) or 'nothing'}")
    if result.unfinished:
        write_line(f"unfinished: {', '.join(result.unfinished)}; the same command goes on from here")
        raise typer.Exit(1)


@evaluation.command("segmentation")
def evaluate_segmenter(
    cases: Cases,
    state: State = DEFAULT_STATE,
    *,
    config: ConfigFile = None,
    mode: Mode = None,
    prompt: Prompt = None,
    every_case: EveryCase = False,
    as_json: AsJson = False,
) -> None:
    """Segment labelled cases and compare with the experts' masks, beside baselines on the same cases.

    Example: oncue evaluate segmentation --cases ../shared/data/brain-mri-lgg --mode fast
    """
    from console.commands.output import write_json
    from console.config import read
    from workers.analysers import SEGMENTATION_FOLDER
    from workers.devices import choose_device, choose_dtype
    from workers.evaluation.cases import list_cases
    from workers.evaluation.segmentation import evaluate_segmentation
    from workers.segmentation.segmenter import ZeroShotSegmenter

    settings = read(state, file=config).settings.worker
    device = choose_device(settings.device)
    folder = settings.models_folder() / SEGMENTATION_FOLDER
    segmenter = ZeroShotSegmenter.load(folder, device=device, dtype=choose_dtype(device, settings.dtype))
    paths = list_cases(cases)
    report = evaluate_segmentation(
        paths if every_case else _kept_out(paths),
        segmenter,
        mode=mode or settings.mode,
        prompt=prompt or settings.prompt,
        on_progress=_show_case,
    )
    if as_json:
        write_json(report.to_json())
        return
    _show_report(report)


def _kept_out(paths: list[Path]) -> list[Path]:
    """Return the cases that no training has seen; all of them where none is on the list of such cases."""
    from workers.training.patients import Role, role

    return [path for path in paths if role(path.stem) is Role.TEST] or paths


def _show_case(done: int, total: int, figures: CaseFigures) -> None:
    sys.stderr.write(f"{done}/{total} {figures.case}: Dice {figures.dice:.3f}, {figures.cpu_seconds:.0f} CPU-seconds\n")


def _show_report(report: SegmentationReport) -> None:
    from console.commands.output import write_line, write_table

    def row(name: str, figures: Figures) -> tuple[object, ...]:
        interval = f"{figures.dice.mean:.3f} ({figures.dice.lo:.3f} to {figures.dice.hi:.3f})"
        return name, interval, figures.false_alarm_rate, figures.slice_auroc

    rows = [row(f"oncue, {report.mode}", report.overall), *(row(*item) for item in report.baselines.items())]
    headers = ("way", "Dice (95 % interval over patients)", "false alarms", "slice AUROC")
    write_table(f"Segmentation of {len(report.per_case)} cases, prompt «{report.prompt}»", headers, rows, empty="")
    write_line(f"{report.cpu_seconds_per_case:.1f} CPU-seconds per case, weights {report.weights[:12]}")
