"""`oncue train`: make the weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from workers.training.settings import Progress

training = typer.Typer(no_args_is_help=True, help="Make model weights from data.")

Cases = Annotated[
    Path,
    typer.Option("--cases", metavar="DIR", exists=True, file_okay=False, help="Folder of cases: PATIENT.npz files."),
]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder that receives the weights.")]
Work = Annotated[Path, typer.Option("--work", metavar="DIR", help="Checkpoints; a repeated run goes on from them.")]
Minutes = Annotated[float, typer.Option("--minutes", min=0, help="Stop after so many minutes, to go on later.")]
Threads = Annotated[int, typer.Option("--threads", min=1, help="Processor threads.")]
RandomSeed = Annotated[int, typer.Option("--seed", min=0, help="Seed of everything that is drawn.")]


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
