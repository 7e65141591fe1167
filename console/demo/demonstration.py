"""The demonstration itself, from the PACS to the table."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from console.demo import table
from console.demo.demonstrated_study import DemonstratedStudy, Truth, judge
from console.demo.journey import RunningSystem, follow, running_system, send, study_uids
from console.demo.pacs import Pacs, running_pacs
from console.demo.picture import draw_overlays, draw_phantom
from console.demo.step_display import StepDisplay
from console.supervision.interruption import Interruption
from storage.objects import ObjectStore

PHANTOM_SEED = 7


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What is to be demonstrated: a folder of one's own or the phantom, and what is left behind."""

    study: Path | None
    out: Path
    keep: bool
    seed: int = PHANTOM_SEED


def demonstrate(options: DemoOptions, console: Console) -> bool:
    """Run the demonstration and say whether every study came to a result in the PACS."""
    options.out.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(prefix="oncue-demo-"))
    worked = False
    try:
        worked = _demonstrate(options, console, place)
    finally:
        if worked:
            shutil.rmtree(place, ignore_errors=True)
        else:
            console.print(f"Logs and database are kept in {place}", highlight=False, soft_wrap=True)
    return worked


def _demonstrate(options: DemoOptions, console: Console, place: Path) -> bool:
    steps = StepDisplay(console)
    folder, truth = _study(options, place, steps)
    uids = study_uids(folder)
    with ExitStack() as stack:
        with steps.step("a PACS"):
            pacs = stack.enter_context(running_pacs(place))
        with steps.step("oncue up: gateway, relay, worker, console, broker, database"):
            running = stack.enter_context(running_system(place / "state", pacs.destination))
        with steps.step(f"sent by C-STORE to {running.listener}"):
            send(folder, running)
        outcomes = [judge(follow(running, uid, steps), pacs.objects(), truth) for uid in uids]
        _present(outcomes, options, truth=truth, running=running, pacs=pacs, console=console)
        worked = bool(outcomes) and all(outcome.is_success for outcome in outcomes)
        if options.keep:
            _linger(running, console)
    return worked


def _study(options: DemoOptions, place: Path, steps: StepDisplay) -> tuple[Path, Truth | None]:
    """Return the folder to send, and the truth where it is a phantom written just now."""
    if options.study is not None:
        return options.study, None
    with steps.step("a phantom head MR with a lesion"):
        from phantom.study import write_phantom_study

        written = write_phantom_study(place / "phantom", seed=options.seed)
    return place / "phantom", Truth.read(written.truth_path, series_folder=written.series_folder)


def _present(
    outcomes: list[DemonstratedStudy],
    options: DemoOptions,
    *,
    truth: Truth | None,
    running: RunningSystem,
    pacs: Pacs,
    console: Console,
) -> None:
    for number, outcome in enumerate(outcomes, start=1):
        table.show(outcome, console)
        picture = options.out / ("demo.png" if len(outcomes) == 1 else f"demo-{number}.png")
        picture.unlink(missing_ok=True)
        if truth is not None:
            draw_phantom(outcome, truth, picture)
        elif outcome.dossier.result is not None:
            objects = ObjectStore(running.state / "objects")
            draw_overlays([objects.get(digest) for digest in outcome.dossier.result.overlays], picture)
        if picture.is_file():
            console.print(f"Picture: {picture}", highlight=False, soft_wrap=True)
    console.print(f"PACS: {pacs.title} at {pacs.destination}", highlight=False)


def _linger(running: RunningSystem, console: Console) -> None:
    """Leave everything running until interrupted."""
    interruption = Interruption.armed()
    console.print(
        f"Still running: worklist at {running.pages}, listener at {running.listener}, state in {running.state}. "
        "Ctrl-C ends it.",
        highlight=False,
        soft_wrap=True,
    )
    interruption.stop.wait()
