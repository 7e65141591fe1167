"""One gateway in several processes on one port."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from sqlalchemy import select

from console.supervision.ports import settle
from dicom_gateway.status import Status
from storage import audit, processes
from storage.arrival_tables import AssociationRow
from storage.database import connect
from storage.models import InstanceRow, StudyRow
from storage.objects import ObjectStore
from tests.support.gateways import half_received, until
from tests.support.migrated import put_database
from tests.support.senders import LOOPBACK, ct_image, echoes, store
from tests.support.streams import Stream
from tests.support.system import ONCUE, QUICK, environment, oncue_up, run_oncue

pytestmark = pytest.mark.slow


@dataclass(frozen=True, slots=True)
class SharedPort:
    """A running `oncue gateway --processes`."""

    process: subprocess.Popen[bytes]
    port: int
    state: Path

    def members(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children()


@contextlib.contextmanager
def gateway_of(count: int, state: Path) -> Iterator[SharedPort]:
    port = settle(LOOPBACK, 0, key="gateway.port")
    variables = {**QUICK, "ONCUE_GATEWAY_PORT": str(port), "ONCUE_GATEWAY_QUIET_SECONDS": "1"}
    put_database(state)
    with (state / "gateway.log").open("wb") as log:
        process = subprocess.Popen(
            [ONCUE, "gateway", "--state", str(state), "--processes", str(count)],
            stdout=log,
            stderr=log,
            env=environment(variables),
        )
    running = SharedPort(process, port, state)
    try:
        until(lambda: len(_alive(state)) == count, "the heartbeats of all processes")
        yield running
    finally:
        process.terminate()
        process.wait(60)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedPort]:
    """Two processes on one port, for tests that leave two behind."""
    with gateway_of(2, tmp_path_factory.mktemp("pair")) as running:
        yield running


def _alive(state: Path) -> set[str]:
    database = connect(f"sqlite:///{state / 'oncue.sqlite'}")
    with contextlib.closing(database.engine.connect()), database.read() as session:
        running = {process.id for process in processes.running(session, kind="gateway")}
    database.dispose()
    return running


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, port), timeout=5):
        return True
    return False


def test_processes_share_the_port_and_the_first_one_closes_what_the_others_took_in(tmp_path: Path) -> None:
    with gateway_of(3, tmp_path) as running:
        until(lambda: _listens(running.port), "an open port")
        for number in range(24):
            assert store(running.port, ct_image(number=number)) == [Status.SUCCESS]
        database = connect(f"sqlite:///{tmp_path / 'oncue.sqlite'}")
        with database.read() as session:
            takers = set(session.scalars(select(AssociationRow.process_id)))
            assert len(list(session.scalars(select(StudyRow.id)))) == 1
        assert len(takers) > 1

        def closed() -> bool:
            with database.read() as session:
                return bool(audit.history(session, tag="study:closed"))

        until(closed, "the close of the study")
        database.dispose()
        children = running.members()
        assert len(children) == 3
    assert running.process.returncode == 0
    until(lambda: not any(child.is_running() for child in children), "the end of every process")
    assert not _listens(running.port)


def test_a_second_gateway_on_the_port_is_refused(pair: SharedPort) -> None:
    until(lambda: _listens(pair.port), "an open port")
    variables = {**QUICK, "ONCUE_GATEWAY_PORT": str(pair.port)}
    second = run_oncue("gateway", "--state", str(pair.state), "--processes", "2", variables=variables)
    assert second.returncode == 1
    assert "cannot be listened on" in second.stderr


def test_a_process_that_dies_is_replaced_and_the_others_go_on(pair: SharedPort) -> None:
    before = {child.pid for child in pair.members()}
    heard = _alive(pair.state)
    assert (len(before), len(heard)) == (2, 2)
    pair.members()[0].send_signal(signal.SIGKILL)
    until(lambda: echoes(pair.port), "an answer of the other process")
    until(lambda: len({child.pid for child in pair.members()} - before) == 1, "a new process")
    until(lambda: bool(_alive(pair.state) - heard), "its heartbeat")


@pytest.mark.parametrize("killed", [1, 2], ids=["one of two", "both"])
def test_processes_killed_while_images_come_lose_none_that_they_acknowledged(tmp_path: Path, killed: int) -> None:
    with gateway_of(2, tmp_path) as running:
        until(lambda: echoes(running.port), "an open port")
        acknowledged = _sent_until(running.port, lambda: _kill(running.members()[:killed]))
        until(lambda: len(running.members()) == 2 and len(_alive(tmp_path)) >= 2, "two processes again")
        until(lambda: echoes(running.port), "an answer of theirs")
        acknowledged += _sent_until(running.port, lambda: None, first=5000)
        _keeps(tmp_path, acknowledged)


@pytest.mark.peer
def test_up_runs_as_many_gateway_processes_as_it_is_told_and_restarts_those_killed_while_images_came(
    tmp_path: Path,
) -> None:
    variables = {**QUICK, "ONCUE_GATEWAY_PROCESSES": "2"}
    with oncue_up(tmp_path / "state", variables=variables, quiet_seconds=60) as system:

        def gateways() -> list[psutil.Process]:
            with contextlib.suppress(psutil.ZombieProcess):  # one that was killed and not yet missed
                children = psutil.Process(system.process.pid).children()
                return [child for child in children if "gateway" in child.cmdline()]
            return []

        before = {child.pid for child in gateways()}
        assert len(before) == 2
        assert (system.state / "logs" / "gateway-2.log").is_file()
        acknowledged = _sent_until(system.port, lambda: _kill(gateways()))
        until(lambda: len({child.pid for child in gateways()} - before) == 2, "two new processes")
        until(lambda: echoes(system.port), "an answer of theirs", seconds=60)
        acknowledged += _sent_until(system.port, lambda: None, first=5000)
        _keeps(system.state, acknowledged)
        assert system.stop() == 0


def _sent_until(port: int, strike: Callable[[], None], *, first: int = 1) -> list[str]:
    """Send over four associations, strike in the middle of it, and return what was acknowledged to any of them.

    A stream ends where its process is gone, or after 200 images.
    """
    streams = [Stream(port, first=first + 200 * number) for number in range(4)]
    threads = [threading.Thread(target=stream.run, args=(10,), kwargs={"most": 200}) for stream in streams]
    for thread in threads:
        thread.start()
    for stream in streams:
        assert stream.enough.wait(60)
    strike()
    for thread in threads:
        thread.join()
    return [uid for stream in streams for uid in stream.acknowledged]


def _kill(members: Sequence[psutil.Process]) -> None:
    for member in members:
        member.send_signal(signal.SIGKILL)


def _keeps(state: Path, acknowledged: Sequence[str]) -> None:
    """Wait until images are on record, and check the bytes of every one of them."""
    database, objects = connect(f"sqlite:///{state / 'oncue.sqlite'}"), ObjectStore(state / "objects")

    def digests() -> dict[str, str]:
        with database.read() as session:
            return dict(session.execute(select(InstanceRow.sop_instance_uid, InstanceRow.digest)).all())

    until(lambda: set(acknowledged) <= digests().keys(), "the rows of what was acknowledged", seconds=60)
    until(lambda: half_received(objects) == [], "an empty journal", seconds=60)
    found = digests()
    for uid in acknowledged:
        objects.verify(found[uid])
    database.dispose()
    assert run_oncue("audit", "verify", "--state", str(state)).returncode == 0
