"""`oncue train`: make the weights."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from console.commands.laboratory import laboratory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.progress import TaskID

    from lab.training.settings import StepReport

PHANTOMS = 6
"""Healthy head phantoms drawn beside the corpus."""

training = typer.Typer(
    no_args_is_help=True,
    help="Make model weights from data (from a checkout: see decision 0021).",
)

Cases = Annotated[
    Path,
    typer.Option("--cases", metavar="DIR", exists=True, file_okay=False, help="Folder of cases: PATIENT.npz files."),
]
DataRoot = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", exists=True, file_okay=False, help="Folder that holds the corpus's folders."),
]
CorpusFile = Annotated[
    Path | None, typer.Option("--corpus", metavar="TOML", help="What to train on; default: as the shipped weights.")
]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder that receives the weights.")]
Work = Annotated[Path, typer.Option("--work", metavar="DIR", help="Checkpoints; a repeated run goes on from them.")]
PlanName = Annotated[
    str, typer.Option("--plan", metavar="P", help="full: 2 to 3 hours on two cores; short: within one.")
]
Minutes = Annotated[float, typer.Option("--minutes", min=0, help="Stop after so many minutes, to go on later.")]
Threads = Annotated[int, typer.Option("--threads", min=1, help="Processor threads.")]
RandomSeed = Annotated[int, typer.Option("--seed", min=0, help="Seed of everything that is drawn.")]

Foundation = Annotated[
    Path,
    typer.Option(
        "--foundation",
        metavar="DIR",
        exists=True,
        file_okay=False,
        help="Folder of the foundation model, whose own files stay as they are.",
    ),
]
HealthyCases = Annotated[
    Path,
    typer.Option(
        "--cases",
        metavar="DIR",
        exists=True,
        file_okay=False,
        help="Folder of PATIENT.npz files with image and, where there is one, mask: slices near a mask are left out.",
    ),
]
HeadOut = Annotated[
    Path | None,
    typer.Option("--out", metavar="DIR", help="Folder that receives the head; default: head/ in the model's."),
]
HeadWork = Annotated[Path, typer.Option("--work", metavar="DIR", help="Checkpoint; a repeated run goes on from it.")]
Steps = Annotated[int, typer.Option("--steps", min=1, help="Training steps.")]
PerStep = Annotated[int, typer.Option("--batch", min=2, help="Painted slices per step.")]
Modality = Annotated[
    str | None, typer.Option("--modality", help="Of the cases; default: the first of the model's card.")
]

RegionData = Annotated[
    Path, typer.Option("--data", metavar="DIR", exists=True, file_okay=False, help="Folder that holds all collections.")
]
FamilyName = Annotated[str, typer.Option("--family", metavar="NAME", help="Which family: pet, limb-mr, body-ct, ...")]
FamilyOut = Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder that receives a folder of the family.")]
Plain = Annotated[
    bool, typer.Option("--plain", help="Instead: the plain network of single slices that the evaluation compares with.")
]
RegionOut = Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder that receives the head.")]
Vectors = Annotated[Path, typer.Option("--work", metavar="DIR", help="Vectors; a repeated run takes them from there.")]


@training.command("foundation")
def train_foundation_model(
    cases: Cases,
    *,
    data: DataRoot = None,
    corpus: CorpusFile = None,
    out: Out = Path("out/foundation"),
    work: Work = Path("out/training"),
    plan: PlanName = "full",
    minutes: Minutes = 170.0,
    threads: Threads = 2,
    seed: RandomSeed = 0,
) -> None:
    """Train the segmentation model's autoencoder, adapters and denoiser, and the baseline; repeat it to go on.

    Without --data the cases alone are trained on, beside phantoms.

    Example: oncue train foundation --cases ../shared/data/brain-mri-lgg --data ../shared/data
    """
    from console.terminal.options import chosen
    from console.terminal.output import write_line

    with laboratory():
        from lab.training import corpus as described
        from lab.training.run import train_foundation
        from lab.training.settings import PLANS, Plan, TrainingSettings

    steps = PLANS[chosen(Plan, plan) or Plan.FULL]
    if data is None:
        material = described.single(cases, phantoms=PHANTOMS)
    else:
        material = described.read(corpus or described.CORPUS_FILE, data, phantoms=PHANTOMS)
    settings = TrainingSettings(
        material, cases, out, work, plan=steps, seed=seed, threads=threads, deadline_minutes=minutes
    )
    with _bars() as (show, show_calibration):
        result = train_foundation(settings, on_step=show, on_calibration=show_calibration)
    write_line(
        f"finished after {result.seconds:.0f} s: {', '.join(result.finished) or 'nothing'}; losses: {work}/loss.svg"
    )
    if result.unfinished:
        write_line(f"unfinished: {', '.join(result.unfinished)}; the same command goes on from here")
        raise typer.Exit(1)


@training.command("head")
def train_feature_head(
    foundation: Foundation,
    cases: HealthyCases,
    *,
    out: HeadOut = None,
    work: HeadWork = Path("out/head-training"),
    minutes: Minutes = 170.0,
    steps: Steps = 1500,
    batch: PerStep = 8,
    modality: Modality = None,
    threads: Threads = 2,
    seed: RandomSeed = 0,
) -> None:
    """Train adapters and a head on another maker's frozen model, on lesions painted on healthy slices; repeat to go on.

    About a ninth of the patients, by the digest of their names, chooses the threshold; another ninth is left alone.

    Example: oncue train head --foundation FOLDER --cases ../shared/data/brain-mri-lgg
    """
    from console.terminal.output import write_line

    with laboratory():
        from lab.training.foundation_head import train_head
        from lab.training.head_settings import HeadSettings

    settings = HeadSettings(
        foundation,
        cases,
        work,
        out=out,
        modality=modality,
        steps=steps,
        batch=batch,
        seed=seed,
        threads=threads,
        deadline_minutes=minutes,
    )
    with _bars() as (show, show_calibration):
        result = train_head(settings, on_step=show, on_calibration=show_calibration)
    if result.card is None:
        write_line(
            f"unfinished after {result.seconds:.0f} s: the same command goes on from {work}; no head was written"
        )
        raise typer.Exit(1)
    read = result.card.held_out
    write_line(f"finished after {result.seconds:.0f} s: {result.folder}")
    write_line(
        f"lesions painted on {read.slices} held-out slices: mean Dice {read.dice:.3f} at {result.card.threshold:g}, "
        f"average precision {read.average_precision:.3f}; best fixed grey level: Dice {read.grey_dice:.3f}"
    )


@training.command("family")
def train_family_network(
    family: FamilyName,
    data: RegionData,
    *,
    out: FamilyOut = Path("out/families"),
    work: Work = Path("out/family-training"),
    plain: Plain = False,
    minutes: Minutes = 60.0,
    threads: Threads = 1,
    seed: RandomSeed = 0,
) -> None:
    """Train one family's network on painted lesions, then on what it marks itself; repeat it to go on.

    Example: oncue train family --family pet --data ../shared/data
    """
    from console.terminal.output import write_line

    with laboratory():
        from lab.training.families.plain import train_plain
        from lab.training.families.plans import plan_of
        from lab.training.families.run import train_family
        from lab.training.families.settings import FamilySettings
        from workers.segmentation.families import family_named
    known = family_named(family)
    settings = FamilySettings(
        known,
        data,
        out / known.name,
        work,
        plan=plan_of(known),
        seed=seed,
        threads=threads,
        deadline_minutes=minutes,
    )
    with _bars() as (show, _):
        result = (train_plain if plain else train_family)(settings, on_step=show)
    if result.worth is None:
        write_line(f"unfinished after {result.seconds:.0f} s: the same command goes on from {work}")
        raise typer.Exit(1)
    write_line(f"finished after {result.seconds:.0f} s: {settings.out}")
    write_line(f"Dice {result.worth.dice:.3f} on {result.cases} tuning cases, on which the mask rule was chosen")


@training.command("region")
def train_body_region(
    data: RegionData, *, out: RegionOut = Path("out/body-region"), work: Vectors = Path("out/body-region-vectors")
) -> None:
    """Make the guard's weights: embed the pictures of every region, fit the head, and measure it on other patients.

    Example: oncue train region --data ../shared/data --out models/body-region
    """
    from console.terminal.output import write_line

    with laboratory():
        from lab.body_region.measuring import report
        from lab.body_region.run import open_encoder, train_region
    made = train_region(data, out, backbone=open_encoder(), work=work, on_progress=_cases)
    for line in report(made.test, folds=made.folds, unlearned=made.unlearned):
        write_line(line)


def _cases(done: int, total: int) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\rembedding: {done}/{total} cases" + ("\n" if done == total else ""))


@contextmanager
def _bars() -> Iterator[tuple[Callable[[StepReport], None], Callable[[int, int], None]]]:
    """Show one bar a stage and one for the calibration on a terminal, and a line every hundred steps elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description:12}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, TextColumn("{task.fields[loss]}"), console=console) as bars:
        tasks: dict[str, TaskID] = {}

        def advance(name: str, done: int, of: int, *, loss: str = "") -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=of, loss=loss)
            bars.update(tasks[name], completed=done, loss=loss)
            if not console.is_terminal and done % 100 == 0:
                console.print(f"{name} {done}/{of} {loss}".rstrip())

        def show(progress: StepReport) -> None:
            loss = f"loss {progress.loss:.4f}"
            advance(progress.stage, progress.step, progress.steps, loss=loss)

        def show_calibration(done: int, of: int) -> None:
            advance("calibration", done, of)

        yield show, show_calibration
