"""The demonstration itself, from the PACS to the table."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
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
from storage.study_record import Dossier

PHANTOM_SEED = 7


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What is to be demonstrated: a folder of one's own or the phantom, and what is left behind."""

    study: Path | None
    out: Path
    keep: bool
    seed: int = PHANTOM_SEED


@dataclass(frozen=True, slots=True)
class SentFolder:
    """What is sent: by Study Instance UID what the phantoms in it hold, and the studies that no route wants."""

    folder: Path
    truths: Mapping[str, Truth] = field(default_factory=dict)
    unwanted: frozenset[str] = frozenset()


def demonstrate(options: DemoOptions, console: Console) -> bool:
    """Run the demonstration and say whether every study ended as it should: with a result in the PACS, or set aside."""
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
    sent = _sent(options, place, steps)
    uids = study_uids(sent.folder)
    with ExitStack() as stack:
        with steps.step("a PACS"):
            pacs = stack.enter_context(running_pacs(place))
        with steps.step("oncue up: gateway, relay, worker, console, broker, database"):
            running = stack.enter_context(running_system(place / "state", pacs.destination))
        with steps.step(f"sent by C-STORE to {running.listener}"):
            send(sent.folder, running)
        outcomes = [_outcome(sent, follow(running, uid, steps), pacs) for uid in uids]
        _present(outcomes, options, sent=sent, running=running, pacs=pacs, console=console)
        worked = bool(outcomes) and all(outcome.is_success for outcome in outcomes)
        if options.keep:
            _linger(running, console)
    return worked


def _sent(options: DemoOptions, place: Path, steps: StepDisplay) -> SentFolder:
    """Return the folder to send: one's own, or the phantom and a study that no route wants, written just now."""
    if options.study is not None:
        return SentFolder(options.study)
    with steps.step("a phantom head MR with a lesion, and a knee that no route wants"):
        from console.demo.unwanted_study import write_unwanted_study
        from phantom.study import write_phantom_study

        folder = place / "sent"
        written = write_phantom_study(folder / "head", seed=options.seed)
        unwanted = write_unwanted_study(folder / "knee", seed=options.seed)
    truth = Truth.read(written.truth_path, series_folder=written.series_folder)
    return SentFolder(folder, {written.study_instance_uid: truth}, frozenset({unwanted}))


def _outcome(sent: SentFolder, dossier: Dossier, pacs: Pacs) -> DemonstratedStudy:
    uid = dossier.entry.study_instance_uid
    return judge(dossier, pacs.objects(), sent.truths.get(uid), unwanted=uid in sent.unwanted)


def _present(
    outcomes: list[DemonstratedStudy],
    options: DemoOptions,
    *,
    sent: SentFolder,
    running: RunningSystem,
    pacs: Pacs,
    console: Console,
) -> None:
    analysed = sum(outcome.dossier.result is not None for outcome in outcomes)
    for number, outcome in enumerate(outcomes, start=1):
        table.show(outcome, console)
        picture = options.out / ("demo.png" if analysed <= 1 else f"demo-{number}.png")
        if outcome.is_set_aside:
            continue
        picture.unlink(missing_ok=True)
        truth = sent.truths.get(outcome.dossier.entry.study_instance_uid)
        if truth is not None and outcome.mask is not None:
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
