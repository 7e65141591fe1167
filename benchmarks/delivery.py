"""From the last image of a study to its last object acknowledged, beyond quiet time and inference.

``python -m benchmarks.delivery [--studies N] [--forms SEG,SR] [--dead]`` sends small studies to a gateway of this
process, has a thread write a ready-made result for each, and takes the time of the last acknowledgement of DCMTK
storescp. With ``--dead`` each kind of dead destination stands beside it in turn. ``--rounds SQLite PostgreSQL`` times
the dispatcher's rounds with 10,000 pending deliveries instead (``benchmarks.delivery_rounds``).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from benchmarks import delivery_rounds
from dicom_gateway.destinations import Destination
from dicom_gateway.sending.outgoing import read_outgoing
from dicom_gateway.sending.sender import send
from storage import analyses, arrays, job_lists, jobs, migrate
from storage.database import Database, connect, utc_now
from storage.delivery_tables import DeliveryRow, DestinationRow
from storage.domain import ObjectKind
from storage.models import JobRow, StudyRow
from storage.objects import ObjectStore
from storage.result_tables import ResultObjectRow
from storage.states import JobState
from tests.support import peers
from tests.support.ending_scp import Ending, ending_scp
from tests.support.gateways import Running, running_gateway
from tests.support.sources import Layout, SourceStudy, store_study

QUIET_SECONDS = 1.0
_SHAPE = (24, 256, 256)
_PATIENCE_SECONDS = 120.0
_SETTING_FORMS = "SEG,SR"
"""What a destination of the settings gets; other forms need an entry."""


def main() -> None:
    """Measure and print a table."""
    options = _options()
    print(f"load average {os.getloadavg()[0]:.1f} before")
    if options.rounds:
        _print_rounds(options.rounds, options.pending, options.sent)
        return
    # There and back again, so that whatever else the machine does falls on all alike.
    kinds = [*_BESIDE, *reversed(_BESIDE)] if options.dead else ["nothing"]
    found: dict[str, list[float]] = {kind: [] for kind in kinds}
    for kind in kinds:
        found[kind] += measured(kind, options.forms, options.studies)
        print(f"{kind}: load average {os.getloadavg()[0]:.1f}", flush=True)
    print("| beside it | forms | median s | 95th percentile s | studies |\n|---|---|---|---|---|")
    for kind, seconds in found.items():
        p95 = statistics.quantiles(seconds, n=20, method="inclusive")[-1]
        print(f"| {kind} | {options.forms} | {statistics.median(seconds):.2f} | {p95:.2f} | {len(seconds)} |")


def measured(beside: str, forms: str, studies: int) -> list[float]:
    """Send so many studies, one after the other, to a gateway with a live destination and perhaps a dead one.

    Returns the seconds of each but the first, which loads what the others find loaded.
    """
    with tempfile.TemporaryDirectory(prefix="oncue-delivery-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        url = f"sqlite:///{folder / 'oncue.sqlite'}"
        database, worker = connect(url), connect(url)
        migrate.upgrade(database)
        objects = ObjectStore(folder / "objects")
        objects.prepare()
        live = f"STORESCP@127.0.0.1:{stack.enter_context(peers.dcmtk_storescp(folder)).port}"
        dead = stack.enter_context(_BESIDE[beside]())
        by_setting = (live, *dead) if forms == _SETTING_FORMS else dead
        if forms != _SETTING_FORMS:
            _add_entry(database, live, forms)
        settings: dict[str, Any] = {"destinations": by_setting, "quiet_seconds": QUIET_SECONDS}
        running = stack.enter_context(running_gateway(database, objects, **settings))
        seconds = [_one(running, worker, folder, number, live) for number in range(studies)]
        worker.dispose()
    return seconds[1:]


def _one(running: Running, worker: Database, folder: Path, number: int, live: str) -> float:
    source = store_study(Layout(f"benchmark-{number}", shape=_SHAPE), running.objects)
    files = [folder / f"{number}-{index}.dcm" for index in range(len(source.datasets))]
    for path, dataset in zip(files, source.datasets, strict=True):
        dataset.save_as(path, enforce_file_format=True)
    outgoing = [found for path in files if (found := read_outgoing(path)) is not None]
    thread = threading.Thread(target=_work, args=(worker, running.objects, source), daemon=True)
    thread.start()
    outcomes = send(outgoing, Destination("ONCUE", "127.0.0.1", running.port))
    last_image = utc_now()
    if not all(outcome.status == 0 for outcome in outcomes):
        raise SystemExit("the gateway did not take every image")
    thread.join(_PATIENCE_SECONDS)
    uid = str(source.datasets[0].StudyInstanceUID)
    inference, last_object = _ended(running.database, uid, live)
    return (last_object - last_image).total_seconds() - QUIET_SECONDS - inference


def _work(database: Database, objects: ObjectStore, source: SourceStudy) -> None:
    """Be the worker: take the study's job as soon as it is there, and save a result that is ready."""
    analysis = source.analysis(source.lesion_labels())
    grid = arrays.save_grid(objects, analysis.frames, analysis.label_map)
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline:
        with database.read() as session:
            queued = job_lists.listed(session, state=JobState.QUEUED)
        if queued:
            with database.write() as session:
                held = jobs.claim(session, queued[0].id, owner="worker", lease_seconds=60, now=utc_now())
            if held is not None:
                with database.write() as session:
                    analyses.save(session, held, analysis, grid_digest=grid, now=utc_now())
                return
        time.sleep(0.005)
    raise SystemExit("the study did not close")


def _ended(database: Database, study_uid: str, live: str) -> tuple[float, datetime]:
    """Return how long the job of a study ran, and when the last of its objects was acknowledged, once it was."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    of_study = select(StudyRow.id).where(StudyRow.study_instance_uid == study_uid).scalar_subquery()
    rows = (
        select(func.count(), func.count(DeliveryRow.sent_at), func.max(DeliveryRow.sent_at))
        .join(ResultObjectRow, ResultObjectRow.id == DeliveryRow.object_id)
        .where(ResultObjectRow.study_id == of_study, DeliveryRow.destination.in_((live, _NAME)))
    )
    while time.monotonic() < deadline:
        with database.read() as session:
            opened, sent, last = session.execute(rows).one()
            started, finished = session.execute(
                select(JobRow.started_at, JobRow.finished_at).where(JobRow.study_id == of_study)
            ).one()
        if opened and opened == sent and last and started and finished:
            return (finished - started).total_seconds(), last
        time.sleep(0.05)
    raise SystemExit("the objects did not arrive")


_NAME = "benchmark"


def _add_entry(database: Database, address: str, forms: str) -> None:
    """Add a destination that gets other forms than those of the settings."""
    kinds = [ObjectKind(form) for form in forms.split(",")]
    now = utc_now()
    row = DestinationRow(
        name=_NAME,
        address=address,
        forms=",".join(kinds),
        keeps_segmentations=True,
        shows_priority=False,
        rejection_notes=False,
        unanalysed="nothing",
        associations=1,
        paused=False,
        added_by="benchmark",
        added_at=now,
        changed_at=now,
    )
    with database.write() as session:
        session.add(row)


@contextlib.contextmanager
def _nothing() -> Iterator[tuple[str, ...]]:
    yield ()


@contextlib.contextmanager
def _refusing() -> Iterator[tuple[str, ...]]:
    yield (f"DEAD@127.0.0.1:{peers.free_port()}",)


@contextlib.contextmanager
def _silent() -> Iterator[tuple[str, ...]]:
    """Yield the address of somebody who takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield (f"DEAD@127.0.0.1:{server.getsockname()[1]}",)


@contextlib.contextmanager
def _hanging() -> Iterator[tuple[str, ...]]:
    """Yield the address of somebody who takes an association and the first object, and never answers."""
    with ending_scp(1000, Ending.RELEASE, pause_seconds=3600) as peer:
        yield (f"DEAD@127.0.0.1:{peer.port}",)


_BESIDE: dict[str, Callable[[], contextlib.AbstractContextManager[tuple[str, ...]]]] = {
    "nothing": _nothing,
    "a port that refuses": _refusing,
    "one that never answers": _silent,
    "one that hangs over the first object": _hanging,
}


def _print_rounds(kinds: list[str], pending: int, sent: int) -> None:
    print(
        "| database | pending | sent | what is free | round ms (median, 95th) | last batch claimed ms (median, 95th) |"
    )
    print("|---|---|---|---|---|---|")
    for kind in kinds:
        for one in delivery_rounds.measured(kind, pending=pending, sent=sent):
            times = f"{one.median:.1f}, {one.p95:.1f} | {one.claimed_median:.1f}, {one.claimed_p95:.1f}"
            print(f"| {one.database} | {one.pending} | {one.sent} | {one.what} | {times} |", flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--studies", type=int, default=20)
    parser.add_argument("--forms", default=_SETTING_FORMS, help="forms that the live destination gets, with commas")
    parser.add_argument("--dead", action="store_true", help="with each kind of dead destination beside it, too")
    parser.add_argument("--rounds", nargs="*", choices=["SQLite", "PostgreSQL"], help="time the dispatcher's rounds")
    parser.add_argument("--pending", type=int, default=10_000)
    parser.add_argument("--sent", type=int, default=100_000)
    return parser.parse_args()


if __name__ == "__main__":
    main()
