"""The gateway killed with SIGKILL: what it acknowledged must still be there, and whole."""

from __future__ import annotations

import contextlib
import random
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import select

from dicom_gateway.status import Status
from storage import audit, studies
from storage.audit import AuditEvent
from storage.database import connect
from storage.domain import StoredInstance
from storage.models import InstanceRow
from storage.objects import ObjectStore
from tests.conftest import ROOT
from tests.support.gateway_process import Moment
from tests.support.gateways import half_received, until
from tests.support.proving import problems
from tests.support.senders import ct_image, data_set_bytes, encoded, store
from tests.support.streams import Stream


@dataclass
class Child:
    """A gateway process and the port that it listens on, 0 where it was killed before that."""

    process: subprocess.Popen[str]
    port: int

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def state(tmp_path: Path, sqlite_template: Path) -> Path:
    """Return a folder with a migrated database."""
    shutil.copy(sqlite_template, tmp_path / "oncue.sqlite")
    return tmp_path


@contextlib.contextmanager
def gateway_process(state: Path, moment: str = "") -> Iterator[Child]:
    command = [sys.executable, "-m", "tests.support.gateway_process", str(state), moment]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        try:
            yield Child(process, next((int(line) for line in lines if line.strip().isdigit()), 0))
        finally:
            process.kill()


def kept(state: Path) -> tuple[StoredInstance, ...]:
    database = connect(f"sqlite:///{state / 'oncue.sqlite'}")
    assert problems(database) == ()
    with database.read() as session:
        instances = studies.instances_of(session, 1) if audit.history(session, tag="study:opened") else ()
    database.dispose()
    return instances


@pytest.mark.slow
def test_every_image_acknowledged_before_a_kill_is_there_after_it(state: Path) -> None:
    chance = random.Random(17)  # noqa: S311 - when to kill is no secret
    acknowledged: list[str] = []
    for attempt in range(3):
        with gateway_process(state) as child:
            stream = Stream(child.port, first=attempt * 10_000)
            sending = threading.Thread(target=stream.run, args=(chance.randint(3, 40),))
            sending.start()
            assert stream.enough.wait(60)
            child.kill()
            sending.join(60)
            acknowledged += stream.acknowledged
    with gateway_process(state) as child:
        until(lambda: half_received(ObjectStore(state / "objects")) == [], "the registration of what was left")
        child.kill()
    instances = {item.sop_instance_uid: item for item in kept(state)}
    assert set(acknowledged) <= set(instances)
    objects = ObjectStore(state / "objects")
    for item in instances.values():
        objects.verify(item.digest)


def registered(state: Path, count: int) -> bool:
    """Say whether so many images are on record and out of every journal."""
    database = connect(f"sqlite:///{state / 'oncue.sqlite'}")
    with database.read() as session:
        rows = len(session.scalars(select(InstanceRow.id)).all())
    database.dispose()
    return rows == count and half_received(ObjectStore(state / "objects")) == []


@pytest.mark.slow
def test_an_image_killed_before_it_is_durable_was_not_acknowledged_and_leaves_nothing(state: Path) -> None:
    with gateway_process(state, Moment.BEFORE_DURABLE) as child:
        assert store(child.port, ct_image()) == [-1]
        child.process.wait(20)
    with gateway_process(state) as child:
        until(lambda: registered(state, 0), "the removal of what was not acknowledged")
        assert store(child.port, ct_image()) == [Status.SUCCESS]
        until(lambda: registered(state, 1), "the image")
        child.kill()
    assert len(kept(state)) == 1


@pytest.mark.slow
@pytest.mark.parametrize("moment", [moment for moment in Moment if moment is not Moment.BEFORE_DURABLE])
def test_an_image_that_is_durable_is_on_record_once_whichever_step_is_the_last(state: Path, moment: Moment) -> None:
    image = ct_image()
    with gateway_process(state, moment) as child:
        answer = store(child.port, image)
        assert answer == [-1] if moment is Moment.BEFORE_ANSWER else answer in ([Status.SUCCESS], [-1])
        child.process.wait(60)
    with gateway_process(state) as child:
        until(lambda: registered(state, 1), "the image that the dead gateway had in its journal")
        assert store(child.port, image) == [Status.SUCCESS]
        until(lambda: registered(state, 1), "the same image again")
        child.kill()
    (instance,) = kept(state)
    objects = ObjectStore(state / "objects")
    assert data_set_bytes(objects.path(instance.digest).read_bytes()) == encoded(image)
    assert objects.path(instance.digest).read_bytes() == objects.get(instance.digest)
    assert len(stored_events(state)) == 1


@pytest.mark.slow
def test_a_gateway_killed_while_it_takes_a_journal_over_leaves_it_to_the_next_one(state: Path) -> None:
    with gateway_process(state, Moment.BEFORE_NAME) as child:
        store(child.port, ct_image())
        child.process.wait(60)
    for moment in (Moment.BEFORE_ROW, Moment.AFTER_COMMIT, Moment.AFTER_BLANK):
        with gateway_process(state, moment) as child:
            child.process.wait(60)
    with gateway_process(state) as child:
        until(lambda: registered(state, 1), "the image of the first gateway")
        child.kill()
    (instance,) = kept(state)
    ObjectStore(state / "objects").verify(instance.digest)
    assert len(stored_events(state)) == 1


def stored_events(state: Path) -> tuple[AuditEvent, ...]:
    database = connect(f"sqlite:///{state / 'oncue.sqlite'}")
    with database.read() as session:
        found = audit.history(session, tag="instance:stored")
    database.dispose()
    return found
