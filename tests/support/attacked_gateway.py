"""A gateway in a process of its own that is held to its bounds while a test attacks it, and to a clean state after.

The bounds are those of docs/security.md. Threads, descriptors and memory are read from outside.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy import func, select

from dicom_gateway.status import Status
from storage.arrival_tables import AssociationRow
from storage.database import Database, connect
from storage.models import Model
from tests.conftest import ROOT
from tests.support.gateways import until
from tests.support.known_peer import KnownPeer, known_peer
from tests.support.senders import ct_image, store

ANSWERED_WITHIN_SECONDS = 1.0
"""Nineteen of twenty C-ECHOs of a known peer are answered so soon, association included, whatever others do."""
SLOWEST_ANSWER_SECONDS = 5.0
MOST_MEMORY_BYTES = 64 << 20
"""So much more memory than before may one attack cost."""

_SPARE_THREADS, _SPARE_SOCKETS, _LEFT_BEHIND_BYTES = 3, 2, 64 << 10
_SPARE_DESCRIPTORS = 48  # the database keeps connections for the next ones, of three descriptors each
_SAMPLE_SECONDS = 0.02
_IMPATIENT = {"acse_seconds": 2, "pdu_seconds": 2, "network_seconds": 20, "drain_seconds": 0}

_PATIENT_MARKS = ("PATIENT-17", "Zo\\u00eb", "Zoë", "ACC-1")
"""What of a patient the images of ``ct_image`` hold."""

_studies = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a gateway holds at a moment."""

    threads: int
    sockets: int
    descriptors: int
    memory_bytes: int
    incoming_bytes: int


@dataclass(frozen=True, slots=True)
class AttackedGateway:
    """A running gateway as its machine sees it."""

    process: psutil.Process
    port: int
    state: Path
    database: Database
    log: Path

    def footprint(self) -> Footprint:
        """Return what it holds now; the test fails where it is gone."""
        try:
            return Footprint(
                threads=self.process.num_threads(),
                sockets=len(self.process.net_connections()),
                descriptors=self._descriptors(),
                memory_bytes=self.process.memory_info().rss,
                incoming_bytes=self.incoming_bytes(),
            )
        except (psutil.Error, FileNotFoundError):
            pytest.fail(f"the gateway is gone:\n{self.log.read_text(errors='replace')[-2000:]}")

    def _descriptors(self) -> int:
        """Return how many it holds but for the journal's files, of which it opens and closes a hundred by itself."""
        found = 0
        for descriptor in Path(f"/proc/{self.process.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                found += "incoming" not in str(descriptor.readlink())
        return found

    def incoming_bytes(self) -> int:
        """Return how many bytes lie in the folder of files that are still being written."""
        found = 0
        for folder, _, names in os.walk(self.state / "objects" / "incoming"):
            for name in names:
                with contextlib.suppress(FileNotFoundError):
                    found += Path(folder, name).stat().st_size
        return found

    def open_associations(self) -> int:
        """Return how many associations are open on record."""
        with self.database.read() as session:
            query = select(func.count()).select_from(AssociationRow).where(AssociationRow.closed_at.is_(None))
            return session.scalar(query) or 0

    def rows(self) -> int:
        """Return how many rows its database has, in all tables."""
        with self.database.read() as session:
            counts = [select(func.count()).select_from(table) for table in Model.metadata.sorted_tables]
            return sum(session.scalar(count) or 0 for count in counts)

    def log_lines(self) -> list[str]:
        """Return its log so far."""
        return self.log.read_text(errors="replace").splitlines()


@contextlib.contextmanager
def attacked_gateway(
    state: Path, template: Path | None = None, *, prepare: Callable[[], None] = lambda: None, **settings: Any
) -> Iterator[AttackedGateway]:
    """Run a gateway on a free port until the block ends, impatient unless ``settings`` say otherwise.

    ``template`` is the file of a migrated database, which saves a second; ``prepare`` is called before the start. The
    gateway has received one image when the block begins.
    """
    state.mkdir(parents=True)
    if template is not None:
        shutil.copy(template, state / "oncue.sqlite")
    prepare()
    log, said = state / "gateway.log", state / "port"
    chosen = json.dumps({**_IMPATIENT, **settings})
    command = [sys.executable, "-m", "tests.support.configured_gateway", str(state), chosen]
    with (
        log.open("wb") as errors,
        said.open("wb") as output,
        subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=errors) as process,
    ):
        try:
            until(lambda: process.poll() is not None or said.read_text().endswith("\n"), "the gateway's start")
            assert process.poll() is None, log.read_text(errors="replace")
            database = connect(f"sqlite:///{state / 'oncue.sqlite'}")
            gateway = AttackedGateway(psutil.Process(process.pid), int(said.read_text()), state, database, log)
            _takes_an_image(gateway)
            yield gateway
            database.dispose()
        finally:
            process.kill()


@contextlib.contextmanager
def under_attack(
    gateway: AttackedGateway,
    *,
    most_memory_bytes: int = MOST_MEMORY_BYTES,
    known: AbstractContextManager[KnownPeer] | None = None,
) -> Iterator[KnownPeer]:
    """Hold a gateway to its bounds while the block attacks it, and to a clean state afterwards.

    ``known`` is the peer that must be answered; by default one that asks at the plain port.
    """
    until(lambda: gateway.open_associations() == 0, "the end of earlier associations")
    before, logged = gateway.footprint(), len(gateway.log_lines())
    with _peak_memory(gateway) as peak, known or known_peer(gateway.port) as peer:
        yield peer
    _assert_answered(peer)
    grown = max(peak) - before.memory_bytes
    assert grown < most_memory_bytes, f"{grown >> 20} MB more memory"
    _assert_clean(gateway, before)
    assert_faultless(gateway.log_lines()[logged:])
    _takes_an_image(gateway)


def assert_faultless(lines: Sequence[str]) -> None:
    """Fail where lines of a log tell of an exception that nobody expected, of a patient, or are not the log's own."""
    at = next((at for at, line in enumerate(lines) if "Traceback" in line or "unexpected_error" in line), None)
    assert at is None, "\n".join(lines[at : at + 40] if at is not None else ())
    for line in lines:
        assert json.loads(line), line
        assert not any(mark in line for mark in _PATIENT_MARKS), line


def _assert_answered(peer: KnownPeer) -> None:
    assert peer.failures == [], f"{len(peer.failures)} of {len(peer.failures) + len(peer.seconds)} were not answered"
    times = sorted(peer.seconds)
    assert times[int(0.95 * (len(times) - 1))] < ANSWERED_WITHIN_SECONDS, times[-5:]
    assert times[-1] < SLOWEST_ANSWER_SECONDS


def _assert_clean(gateway: AttackedGateway, before: Footprint) -> None:
    def is_clean() -> bool:
        now = gateway.footprint()
        return (
            now.threads <= before.threads + _SPARE_THREADS
            and now.sockets <= before.sockets + _SPARE_SOCKETS
            and now.descriptors <= before.descriptors + _SPARE_DESCRIPTORS
            and now.incoming_bytes <= before.incoming_bytes + _LEFT_BEHIND_BYTES
            and gateway.open_associations() == 0
        )

    try:
        until(is_clean, "a clean state")
    except pytest.fail.Exception:
        pytest.fail(f"left behind: {gateway.footprint()}, {gateway.open_associations()} open; before: {before}")


@contextlib.contextmanager
def _peak_memory(gateway: AttackedGateway) -> Iterator[list[int]]:
    """Sample the memory of a gateway until the block ends; it tells nobody how much that is."""
    samples = [gateway.process.memory_info().rss]
    ended = threading.Event()

    def sample() -> None:
        while not ended.wait(_SAMPLE_SECONDS):
            with contextlib.suppress(psutil.Error):  # its end is noticed where its footprint is asked for
                samples.append(gateway.process.memory_info().rss)

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield samples
    finally:
        ended.set()
        thread.join()


def _takes_an_image(gateway: AttackedGateway) -> None:
    assert store(gateway.port, ct_image(f"honest-{next(_studies)}")) == [Status.SUCCESS]
