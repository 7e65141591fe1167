"""Full and read-only disks, a locked database, a clock that jumps: what was acknowledged is there afterwards."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from dicom_gateway.status import Status
from storage import audit
from storage.database import Database, utc_now
from storage.models import InstanceRow, StudyRow
from storage.objects import ObjectStore
from tests.support.attacked_gateway import AttackedGateway, assert_faultless, attacked_gateway
from tests.support.gateways import Running, half_received, running_gateway, until
from tests.support.known_peer import known_peer
from tests.support.mounts import SmallDisk, read_only, small_disk
from tests.support.senders import association, ct_image, data_set_bytes, encoded, store
from tests.support.streams import Stream
from tests.support.system import QUICK, run_oncue

pytestmark = pytest.mark.slow

_ROWS = 512  # half a megabyte of pixels


@dataclass(frozen=True, slots=True)
class Cramped:
    """A gateway whose state lies on a small disk of its own."""

    gateway: AttackedGateway
    disk: SmallDisk

    def send_until_refused(self, study: str, *, rows: int = 16) -> Stream:
        stream = Stream(self.gateway.port, first=1, rows=rows, study=study)
        stream.run(1)
        return stream


@pytest.fixture
def cramped(tmp_path: Path, sqlite_template: Path) -> Iterator[Cramped]:
    with (
        small_disk(tmp_path / "disk", megabytes=48) as disk,
        attacked_gateway(disk.folder / "state", sqlite_template) as gateway,
    ):
        yield Cramped(gateway, disk)
        assert_faultless(gateway.log_lines())


@contextlib.contextmanager
def answered(gateway: AttackedGateway) -> Iterator[None]:
    """Have a known peer ask while the block runs, and five times more; every C-ECHO must be answered."""
    with known_peer(gateway.port) as peer:
        yield
        peer.asks(5)
    assert peer.failures == []


@pytest.mark.parametrize(("rows", "free_megabytes"), [(_ROWS, 8), (16, 1)], ids=["large images", "small images"])
def test_a_disk_that_fills_up_while_images_come_refuses_and_loses_none_that_it_took(
    cramped: Cramped, rows: int, free_megabytes: int
) -> None:
    cramped.disk.fill(but_bytes=free_megabytes << 20)
    with answered(cramped.gateway):
        stream = cramped.send_until_refused("filling", rows=rows)
        assert stream.refusal == Status.OUT_OF_RESOURCES
        assert stream.acknowledged
        assert store(cramped.gateway.port, ct_image("more", rows=_ROWS)) == [Status.OUT_OF_RESOURCES]
    cramped.disk.free()
    assert store(cramped.gateway.port, ct_image("more", rows=_ROWS)) == [Status.SUCCESS]
    _keeps(cramped.gateway, [*stream.acknowledged, str(ct_image("more").SOPInstanceUID)])
    _assert_refusals_on_record(cramped.gateway)


def test_a_disk_without_a_free_byte_takes_images_again_once_there_is_space(cramped: Cramped) -> None:
    cramped.disk.fill()
    with answered(cramped.gateway):
        # What the database gives back of its log may hold an image or two.
        stream = cramped.send_until_refused("none", rows=_ROWS)
        assert stream.refusal == Status.OUT_OF_RESOURCES
    cramped.disk.free()
    images = [ct_image("again", number, rows=_ROWS) for number in range(5)]
    until(lambda: store(cramped.gateway.port, images[0]) == [Status.SUCCESS], "an image to be taken again")
    assert store(cramped.gateway.port, *images) == [Status.SUCCESS] * 5
    _keeps(cramped.gateway, [*stream.acknowledged, *(str(image.SOPInstanceUID) for image in images)])
    _assert_refusals_on_record(cramped.gateway)


@pytest.mark.parametrize("place", ["objects", "."], ids=["objects", "objects and database"])
def test_a_file_system_that_turns_read_only_refuses_and_takes_images_once_it_can_be_written(
    cramped: Cramped, place: str
) -> None:
    with read_only(cramped.gateway.state / place), answered(cramped.gateway):
        # Files that were open before still take images: they are as safe as ever.
        stream = cramped.send_until_refused("read-only")
        assert stream.refusal == Status.OUT_OF_RESOURCES
    assert store(cramped.gateway.port, ct_image("later")) == [Status.SUCCESS]
    _keeps(cramped.gateway, [*stream.acknowledged, str(ct_image("later").SOPInstanceUID)])
    _assert_refusals_on_record(cramped.gateway)


def test_a_gateway_that_finds_no_space_at_its_start_ends_with_one_line(tmp_path: Path, sqlite_template: Path) -> None:
    with small_disk(tmp_path / "disk", megabytes=24) as disk:
        state = disk.folder / "state"
        state.mkdir()
        shutil.copy(sqlite_template, state / "oncue.sqlite")
        disk.fill()
        ended = run_oncue("gateway", "--state", str(state), variables=QUICK)
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert line.startswith("error [")


def test_a_database_that_is_locked_for_longer_than_anybody_waits_for_it_costs_no_image(
    tmp_path: Path, sqlite_template: Path
) -> None:
    with attacked_gateway(tmp_path / "state", sqlite_template) as gateway:
        before, after = Stream(gateway.port, first=1, study="locked"), Stream(gateway.port, first=101, study="locked")
        locked = sqlite3.connect(gateway.state / "oncue.sqlite", isolation_level=None)
        with contextlib.closing(locked), answered(gateway):
            locked.execute("BEGIN IMMEDIATE")
            before.run(40, most=40)
            until(lambda: _waits_for_database(gateway), "the end of its patience with the database", seconds=90)
            after.run(40, most=40)
        assert before.enough.is_set()
        assert after.enough.is_set()
        _keeps(gateway, [*before.acknowledged, *after.acknowledged])
        assert_faultless(gateway.log_lines())


@dataclass
class JumpingClock:
    """The time of day, and how far it was set on or back."""

    ahead: timedelta = timedelta()

    def __call__(self) -> datetime:
        return utc_now() + self.ahead


@pytest.mark.parametrize("jump", [timedelta(days=2), timedelta(days=-2)], ids=["on", "back"])
def test_a_clock_that_jumps_while_images_come_loses_none_and_the_study_is_closed_with_all(
    sqlite_database: Database, objects: ObjectStore, jump: timedelta
) -> None:
    clock = JumpingClock()
    images = [ct_image(number=number) for number in range(1, 6)]
    corrected = ct_image(number=1, value=7)
    with running_gateway(sqlite_database, objects, clock=clock, quiet_seconds=1) as running:
        with association(running.port) as opened:
            for image in images[:3]:
                assert opened.send_c_store(image).Status == Status.SUCCESS
            assert running.gateway.drain(30)
            clock.ahead = jump
            for image in (*images[3:], corrected):
                assert opened.send_c_store(image).Status == Status.SUCCESS
        kept = {item.sop_instance_uid: item.digest for item in running.instances()}
        assert kept.keys() == {str(image.SOPInstanceUID) for image in images}
        first = objects.get(kept[str(corrected.SOPInstanceUID)])
        assert data_set_bytes(first) == encoded(corrected)
        until(lambda: _is_closed(running), "the close of the study with everything in it")
        assert len(running.events("study:opened")) == 1


def _is_closed(running: Running) -> bool:
    with running.database.read() as session:
        return session.scalar(select(StudyRow.closed_at)) is not None


def _waits_for_database(gateway: AttackedGateway) -> bool:
    return any('"ledger.waiting"' in line and '"database_unavailable"' in line for line in gateway.log_lines())


def _keeps(gateway: AttackedGateway, acknowledged: Sequence[str]) -> None:
    """Wait until images are on record, and check the bytes of every one of them."""
    objects = ObjectStore(gateway.state / "objects")
    until(lambda: set(acknowledged) <= _on_record(gateway).keys(), "the rows of what was acknowledged")
    until(lambda: half_received(objects) == [], "an empty journal")
    digests = _on_record(gateway)
    for uid in acknowledged:
        objects.verify(digests[uid])


def _on_record(gateway: AttackedGateway) -> dict[str, str]:
    """Return the digests of the current instances by their UIDs."""
    with gateway.database.read() as session:
        rows = session.execute(select(InstanceRow.sop_instance_uid, InstanceRow.digest).where(InstanceRow.current))
        return dict(rows.all())


def _assert_refusals_on_record(gateway: AttackedGateway) -> None:
    def told() -> bool:
        with gateway.database.read() as session:
            events = audit.history(session, tag="instance:refused", limit=100)
        return bool(events) and all('"code":"storage_full"' in event.details for event in events)

    until(told, "the events of what was refused")
