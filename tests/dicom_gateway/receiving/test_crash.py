"""The gateway killed with SIGKILL: what it acknowledged must still be there, and whole."""

from __future__ import annotations

import contextlib
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from dicom_gateway.status import Status
from storage import audit, studies
from storage.database import connect
from storage.domain import StoredInstance
from storage.objects import ObjectStore
from tests.conftest import ROOT
from tests.support.proving import problems
from tests.support.senders import association, ct_image, store


@dataclass
class Child:
    """A gateway process and the port that it listens on."""

    process: subprocess.Popen[str]
    port: int

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def gateway_process(state: Path, moment: str = "") -> Iterator[Child]:
    command = [sys.executable, "-m", "tests.support.gateway_process", str(state), moment]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        try:
            yield Child(process, next(int(line) for line in lines if line.strip().isdigit()))
        finally:
            process.kill()


def kept(state: Path) -> tuple[StoredInstance, ...]:
    database = connect(f"sqlite:///{state / 'oncue.sqlite'}")
    assert problems(database) == ()
    with database.read() as session:
        instances = studies.instances_of(session, 1) if audit.history(session, tag="study:opened") else ()
    database.dispose()
    return instances


@dataclass
class Stream:
    """Sends images one after another until the gateway is gone, and notes which ones were acknowledged."""

    port: int
    first: int
    acknowledged: list[str] = field(default_factory=list)
    enough: threading.Event = field(default_factory=threading.Event)

    def run(self, until_acknowledged: int) -> None:
        with association(self.port) as opened:
            for number in range(self.first, self.first + 10_000):
                image = ct_image(number=number, rows=128)
                answer = opened.send_c_store(image) if opened.is_established else None
                if answer is None or answer.get("Status") != Status.SUCCESS:
                    return
                self.acknowledged.append(str(image.SOPInstanceUID))
                if len(self.acknowledged) >= until_acknowledged:
                    self.enough.set()


@pytest.mark.slow
def test_every_image_acknowledged_before_a_kill_is_there_after_it(tmp_path: Path) -> None:
    chance = random.Random(17)  # noqa: S311 - when to kill is no secret
    acknowledged: list[str] = []
    for attempt in range(3):
        with gateway_process(tmp_path) as child:
            stream = Stream(child.port, first=attempt * 10_000)
            sending = threading.Thread(target=stream.run, args=(chance.randint(3, 40),))
            sending.start()
            assert stream.enough.wait(60)
            child.kill()
            sending.join(60)
            acknowledged += stream.acknowledged
    instances = {item.sop_instance_uid: item for item in kept(tmp_path)}
    assert set(acknowledged) <= set(instances)
    objects = ObjectStore(tmp_path / "objects")
    for item in instances.values():
        objects.verify(item.digest)


@pytest.mark.slow
def test_an_image_killed_between_file_and_row_was_not_acknowledged_and_can_be_sent_again(tmp_path: Path) -> None:
    image = ct_image()
    with gateway_process(tmp_path, "before-commit") as child:
        assert store(child.port, image) == [-1]
        child.process.wait(20)
    assert kept(tmp_path) == ()
    with gateway_process(tmp_path) as child:
        assert store(child.port, image) == [Status.SUCCESS]
        child.kill()
    (instance,) = kept(tmp_path)
    ObjectStore(tmp_path / "objects").verify(instance.digest)
