"""From a result on record to the receiver's acknowledgement on record, for each kind of channel.

``python -m benchmarks.announcing [--studies N]`` has a gateway of this process announce results that are written one
after the other by another connection: to an HL7, a FHIR, an HTTP and an SMTP receiver on loopback, each alone and then
all at once. Then it times what opening announcements adds to the transaction that saves a result
(``announcements.note_result``), with no channel, one and ten, on SQLite and PostgreSQL.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

import structlog
from sqlalchemy import func, select

from benchmarks.history.postgresql import embedded
from dicom_gateway.announcing.options import read_options, written_options
from storage import migrate
from storage.announcing import announcements
from storage.announcing.channels import ChannelEntry
from storage.announcing.tables import AnnouncementRow, ChannelKind
from storage.database import Database, connect, utc_now
from storage.domain import Priority
from storage.objects import ObjectStore
from tests.support.announcing import add_channel, analyse
from tests.support.fhir_server import fhir_server
from tests.support.gateways import running_gateway
from tests.support.hl7_receiver import acknowledging, hl7_receiver
from tests.support.mail_receiver import MailReceiver, mail_receiver
from tests.support.records import queued_study
from tests.support.stow_service import saying, stow_service

_PATIENCE_SECONDS = 60.0
_POLL_SECONDS = 0.002
_MAIL = {"sender": "oncue@hospital.example", "recipients": "desk@hospital.example", "security": "plain"}
_CHANNELS = (0, 1, 10)


@dataclass(frozen=True, slots=True)
class Place:
    """A database, its object store, and another connection to it: the worker's."""

    database: Database
    worker: Database
    objects: ObjectStore


def main() -> None:
    """Measure and print two tables."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--studies", type=int, default=40)
    studies = options.parse_args().studies
    # The results have no images to write reports of, and the gateway says so of each.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    print(f"load average {os.getloadavg()[0]:.1f} before")
    print("| channel | median ms | 95th percentile ms | studies |\n|---|---|---|---|")
    for name, kinds in {**{kind.value: [kind] for kind in _RECEIVERS}, "all four at once": [*_RECEIVERS]}.items():
        print(f"| {name} | {_in_words(announced(kinds, studies))} | {studies} |", flush=True)
    print("| database | channels | median ms | 95th percentile ms | of claim and result, % |\n|---|---|---|---|---|")
    for kind in ("SQLite", "PostgreSQL"):
        for channels in _CHANNELS:
            opening, saving = opened(kind, channels, studies)
            share = 100 * statistics.median(opening) / statistics.median(saving)
            print(f"| {kind} | {channels} | {_in_words(opening)} | {share:.0f} |", flush=True)
    print(f"load average {os.getloadavg()[0]:.1f} after")


def announced(kinds: Sequence[ChannelKind], studies: int) -> list[float]:
    """Return the milliseconds of each study until the last channel had taken it; the first one only warms up."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="oncue-announcing-")))
        place = stack.enter_context(_place("SQLite", folder))
        for kind in kinds:
            entry = stack.enter_context(_RECEIVERS[kind](folder))
            _add(place.database, entry)
        stack.enter_context(running_gateway(place.database, place.objects))
        return [_one(place, number, len(kinds)) for number in range(1, studies + 2)][1:]


def opened(kind: str, channels: int, studies: int) -> tuple[list[float], list[float]]:
    """Return the milliseconds of opening announcements, and of claim and result together, for each of so many."""
    spent: list[float] = []
    original = announcements.note_result

    def timed(*args: Any, **words: Any) -> None:
        begin = time.perf_counter()
        original(*args, **words)
        spent.append(1000 * (time.perf_counter() - begin))

    with tempfile.TemporaryDirectory(prefix="oncue-announcing-") as name, _place(kind, Path(name)) as place:
        for number in range(channels):
            _add(place.database, ChannelEntry(f"channel-{number}", ChannelKind.WEBHOOK, "https://receiver.example/"))
        with patch.object(announcements, "note_result", timed):
            whole = [_saved(place, number) for number in range(1, studies + 2)]
    return spent[1:], [1000 * seconds for seconds in whole[1:]]


def _saved(place: Place, number: int) -> float:
    """Claim the job of a new study and save its result, as a worker does, and return the seconds."""
    job_id = queued_study(place.worker, number).job_id
    begin = time.perf_counter()
    analyse(place.worker, place.objects, job_id, Priority.STAT, now=utc_now())
    return time.perf_counter() - begin


def _one(place: Place, number: int, channels: int) -> float:
    _saved(place, number)
    committed, last = utc_now(), _last_taken(place.database, number, channels)
    return 1000 * (last - committed).total_seconds()


def _last_taken(database: Database, study_id: int, channels: int) -> datetime:
    """Return when the last of a study's channels had taken it."""
    query = select(func.count(AnnouncementRow.announced_at), func.max(AnnouncementRow.announced_at))
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline:
        with database.read() as session:
            count, last = session.execute(query.where(AnnouncementRow.study_id == study_id)).one()
        if count == channels and last is not None:
            return last if last.tzinfo else last.replace(tzinfo=UTC)
        time.sleep(_POLL_SECONDS)
    raise SystemExit(f"study {study_id} was not announced")


def _add(database: Database, entry: ChannelEntry) -> None:
    columns = {name: getattr(entry, name) for name in ("address", "patient_data", "private_network", "options")}
    add_channel(database, entry.name, entry.kind, credentials=entry.credentials, **columns)


@contextlib.contextmanager
def _place(kind: str, folder: Path) -> Iterator[Place]:
    with contextlib.ExitStack() as stack:
        sqlite = f"sqlite:///{folder / 'oncue.sqlite'}"
        url = sqlite if kind == "SQLite" else stack.enter_context(embedded(folder))
        database, worker = connect(url), connect(url)
        stack.callback(worker.dispose)
        stack.callback(database.dispose)
        migrate.upgrade(database)
        objects = ObjectStore(folder / "objects")
        objects.prepare()
        yield Place(database, worker, objects)


def _entry(kind: ChannelKind, address: str, options: Mapping[str, str] | None = None, **columns: Any) -> ChannelEntry:
    written = written_options(read_options(kind, options or {}))
    return ChannelEntry(kind.value, kind, address, private_network=True, options=written, **columns)


@contextlib.contextmanager
def _hl7(_: Path) -> Iterator[ChannelEntry]:
    with hl7_receiver(acknowledging()) as receiver:
        yield _entry(ChannelKind.HL7, receiver.address, patient_data=True)


@contextlib.contextmanager
def _fhir(_: Path) -> Iterator[ChannelEntry]:
    with fhir_server() as server:
        yield _entry(ChannelKind.FHIR, server.address)


@contextlib.contextmanager
def _webhook(folder: Path) -> Iterator[ChannelEntry]:
    secret = folder / "secret"
    secret.write_text("0123456789abcdef\n")
    secret.chmod(0o600)
    with stow_service(saying(204)) as service:
        address = f"http://127.0.0.1:{service.address.port}/"
        yield _entry(ChannelKind.WEBHOOK, address, credentials=str(secret))


@contextlib.contextmanager
def _mail(_: Path) -> Iterator[ChannelEntry]:
    with mail_receiver(MailReceiver()) as receiver:
        yield _entry(ChannelKind.MAIL, f"smtp://127.0.0.1:{receiver.port}", _MAIL)


_RECEIVERS: Mapping[ChannelKind, Callable[[Path], contextlib.AbstractContextManager[ChannelEntry]]] = {
    ChannelKind.HL7: _hl7,
    ChannelKind.FHIR: _fhir,
    ChannelKind.WEBHOOK: _webhook,
    ChannelKind.MAIL: _mail,
}


def _in_words(milliseconds: Sequence[float]) -> str:
    p95 = statistics.quantiles(milliseconds, n=20, method="inclusive")[-1]
    return f"{statistics.median(milliseconds):.1f} | {p95:.1f}"


if __name__ == "__main__":
    main()
