"""A watched folder as those who copy files into it find it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlalchemy import func, select
from structlog.testing import capture_logs

from dicom_gateway.config import GatewaySettings, TakenFiles, WatchedFolderSettings
from dicom_gateway.inlets import watched_folder
from dicom_gateway.inlets.folder_files import FolderTree
from dicom_gateway.inlets.inlet import Inlet
from dicom_gateway.inlets.watched_folder import WatchedFolder
from storage import audit
from storage.database import Database
from storage.models import InstanceRow
from storage.objects import ObjectStore
from tests.support.gateways import running_gateway, until
from tests.support.part10 import part10, running_inlet
from tests.support.senders import ct_image

STILL = 5.0
_NOBODY = 65534


@dataclass
class Watched:
    """A folder under watch, with a clock that the test moves."""

    path: Path
    inlet: Inlet
    database: Database
    taken: TakenFiles = TakenFiles.MOVE
    now: float = 0.0
    folder: WatchedFolder = field(init=False)

    def __post_init__(self) -> None:
        settings = WatchedFolderSettings(path=self.path, taken=self.taken, still_seconds=STILL)
        self.folder = WatchedFolder(settings, self.inlet, "ONCUE", monotonic=lambda: self.now)

    def write(self, name: str, content: bytes) -> Path:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def wait(self) -> bool:
        """See what is there, let the time of standing still go by, and look again."""
        self.folder.look()
        self.now += STILL
        return self.folder.look()

    def stored(self) -> int:
        assert self.inlet.drain(30)
        with self.database.read() as session:
            return session.scalar(select(func.count(InstanceRow.id))) or 0

    def left(self) -> set[str]:
        """Return every file below the folder, by its path in it."""
        return {
            str(Path(parent, name).relative_to(self.path)) for parent, _, names in os.walk(self.path) for name in names
        }


@pytest.fixture
def inlet(sqlite_database: Database, objects: ObjectStore) -> Iterator[Inlet]:
    with running_inlet(sqlite_database, objects, maximum_instance_megabytes=1) as found:
        yield found


@pytest.fixture
def watched(inlet: Inlet, sqlite_database: Database, tmp_path: Path) -> Watched:
    (tmp_path / "in").mkdir()
    return Watched(tmp_path / "in", inlet, sqlite_database)


def test_a_file_is_taken_once_it_has_stood_still(watched: Watched) -> None:
    path = watched.write("study/1.dcm", part10())
    watched.folder.look()
    watched.now += STILL - 1
    path.write_bytes(part10(ct_image(number=2)) + bytes(2))
    watched.folder.look()
    watched.now += STILL - 1
    watched.folder.look()
    assert (watched.stored(), watched.left()) == (0, {"study/1.dcm"})
    watched.now += 1
    watched.folder.look()
    assert (watched.stored(), watched.left()) == (1, {"done/study/1.dcm"})
    with watched.database.read() as session:
        (stored,) = audit.history(session, tag="instance:stored")
    assert stored.actor == "FOLDER"


def test_a_file_that_is_open_for_writing_is_left_until_it_is_closed(watched: Watched) -> None:
    with (watched.path / "slow.dcm").open("wb") as writing:
        writing.write(part10())
        writing.flush()
        watched.wait()
        assert watched.stored() == 0
    watched.folder.look()
    assert (watched.stored(), watched.left()) == (1, {"done/slow.dcm"})


def test_the_same_file_under_two_names_is_stored_once_and_both_are_deleted_where_that_is_set(
    inlet: Inlet, sqlite_database: Database, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    watched = Watched(tmp_path / "in", inlet, sqlite_database, TakenFiles.DELETE)
    watched.write("1.dcm", part10())
    watched.write("copy/1.dcm", part10())
    watched.wait()
    assert (watched.stored(), watched.left()) == (1, set())


def test_what_is_no_image_or_cut_off_is_moved_aside_with_the_reason(watched: Watched) -> None:
    watched.write("cut.dcm", part10()[:-200])
    watched.write("notes.txt", b"Anna Mustermann, born 1970")
    watched.write("large.dcm", part10(ct_image(rows=1024)))
    watched.write("1.dcm", part10())
    watched.wait()
    watched.write("cut.dcm", part10()[:-100])
    watched.wait()
    rejected = {f"rejected/{name}" for name in ("cut.dcm", "cut.dcm.1", "notes.txt", "large.dcm")}
    assert watched.left() == rejected | {f"{name}.reason.txt" for name in rejected} | {"done/1.dcm"}
    assert "truncated" in (watched.path / "rejected/cut.dcm.reason.txt").read_text()
    assert "undecodable_object" in (watched.path / "rejected/notes.txt.reason.txt").read_text()
    assert (watched.path / "rejected/cut.dcm").read_bytes() == part10()[:-200]
    assert (watched.stored(), watched_folder.rejected_files(watched.path)) == (1, 4)


@pytest.mark.parametrize("name", [".hidden.dcm", "1.dcm.part", "1.tmp", "1.dcm~", ".rsync/1.dcm", "a.TMP/1.dcm"])
def test_unfinished_and_hidden_names_are_left(watched: Watched, name: str) -> None:
    watched.write(name, part10())
    watched.wait()
    assert (watched.stored(), watched.left()) == (0, {name})


def test_links_pipes_sockets_and_empty_files_are_left(watched: Watched, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "1.dcm").write_bytes(part10())
    (watched.path / "link.dcm").symlink_to(outside / "1.dcm")
    (watched.path / "folder").symlink_to(outside)
    os.mkfifo(watched.path / "pipe.dcm")
    (watched.path / "empty.dcm").touch()
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(watched.path / "socket.dcm"))
        watched.wait()
    assert watched.stored() == 0
    assert watched.left() == {"link.dcm", "folder", "pipe.dcm", "empty.dcm", "socket.dcm"} - {"folder"}
    assert (outside / "1.dcm").is_file()


@pytest.mark.parametrize("place", ["done", "rejected"])
def test_a_link_in_the_place_of_our_own_folders_leads_nowhere(watched: Watched, tmp_path: Path, place: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (watched.path / place).symlink_to(outside)
    watched.write("1.dcm", part10() if place == "done" else b"no image")
    watched.wait()
    watched.wait()
    assert list(outside.iterdir()) == []
    assert "1.dcm" in watched.left()


def test_a_folder_that_becomes_a_link_before_its_file_is_taken_leads_nowhere(
    watched: Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "1.dcm").write_bytes(part10())
    path = watched.write("sub/1.dcm", part10(ct_image(number=2)))
    watched.folder.look()
    watched.now += STILL
    taken = watched_folder._taken

    def swapped(*arguments: object) -> object:
        path.parent.rename(watched.path / ".sub")
        path.parent.symlink_to(outside)
        return taken(*arguments)  # type: ignore[arg-type]  # passed on as they came

    monkeypatch.setattr(watched_folder, "_taken", swapped)
    watched.folder.look()
    assert watched.stored() == 0
    assert (outside / "1.dcm").is_file()


def test_a_name_that_has_no_room_for_an_ending_is_cut(watched: Watched) -> None:
    name = "ü" * 127
    for content in (b"none", b"none either"):
        watched.write(name, content)
        watched.wait()
    assert watched.left() == {
        f"rejected/{name}",
        f"rejected/{'ü' * 122}.reason.txt",
        f"rejected/{os.fsdecode(os.fsencode(name)[:253])}.1",
    }


def test_a_file_that_vanishes_is_no_error(watched: Watched) -> None:
    path = watched.write("1.dcm", part10())
    watched.folder.look()
    watched.now += STILL
    path.unlink()
    with capture_logs() as logged:
        watched.folder.look()
    assert watched.stored() == 0
    assert [line for line in logged if line["log_level"] == "warning"] == []


def test_a_folder_that_cannot_be_read_keeps_nobody_from_the_others(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    for name in ("a", "locked", "z"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.dcm").write_bytes(part10())
        (tmp_path / name).chmod(0o755)
    (tmp_path / "locked").chmod(0)
    tree, user = FolderTree(tmp_path), os.geteuid()
    if not user:
        os.seteuid(_NOBODY)  # who runs as root reads everything
    try:
        found = {str(file) for file in tree.files()}
    finally:
        os.seteuid(user)
        tree.close()
    assert (found, tree.unreadable) == ({"a/1.dcm", "z/1.dcm"}, {"Permission denied"})


def test_a_folder_that_is_missing_is_waited_for(watched: Watched) -> None:
    watched.path.rmdir()
    with capture_logs() as logged:
        watched.wait()
        watched.wait()
    assert [line["event"] for line in logged].count("folder.missing") == 1
    watched.path.mkdir()
    watched.write("1.dcm", part10())
    watched.wait()
    assert watched.stored() == 1


def test_what_the_disk_has_no_room_for_waits_where_it_lies(sqlite_database: Database, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with running_inlet(sqlite_database, ObjectStore(tmp_path / "full", reserve_bytes=1 << 60)) as inlet:
        watched = Watched(tmp_path / "in", inlet, sqlite_database)
        watched.write("1.dcm", part10())
        watched.wait()
        watched.folder.look()
        watched.now += STILL
        watched.folder.look()
        assert watched.left() == {"1.dcm"}
        assert watched.stored() == 0
        with sqlite_database.read() as session:
            assert len(audit.history(session, tag="association:opened")) == 1
        watched.now += 60
        watched.folder.look()
        assert watched.stored() == 0
        with sqlite_database.read() as session:
            assert len(audit.history(session, tag="association:opened")) == 2
    with running_inlet(sqlite_database, ObjectStore(tmp_path / "roomy")) as inlet:
        again = Watched(tmp_path / "in", inlet, sqlite_database)
        again.wait()
        assert (again.stored(), again.left()) == (1, {"done/1.dcm"})


def test_many_files_have_others_wait_no_longer_than_for_some_of_them(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watched_folder, "_MOST_AT_ONCE", 5)
    for number in range(12):
        watched.write(f"{number:02}.dcm", part10(ct_image(number=number)))
    assert [watched.wait(), watched.folder.look(), watched.folder.look()] == [True, True, False]
    assert watched.stored() == 12


@pytest.mark.slow
def test_a_gateway_takes_what_is_copied_into_its_folder(
    sqlite_database: Database, objects: ObjectStore, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    watched = {"path": folder, "aet": "USB", "lane": "stat", "taken": "delete", "still_seconds": 0.2}
    with running_gateway(sqlite_database, objects, watched_folders=[watched]) as running:
        for number in range(3):
            (folder / f"{number}.dcm").write_bytes(part10(ct_image(number=number)))
        until(lambda: len(running.instances()) == 3, "the images of the folder")
        until(lambda: list(folder.iterdir()) == [], "the end of the files")
    with sqlite_database.read() as session:
        assert {event.actor for event in audit.history(session, tag="instance:stored")} == {"USB"}


@pytest.mark.parametrize("second", ["in", "in/below"])
def test_folders_that_hold_one_another_are_no_settings(tmp_path: Path, second: str) -> None:
    with pytest.raises(ValueError, match="watch it once"):
        GatewaySettings(
            watched_folders=(
                WatchedFolderSettings(path=tmp_path / "in"),
                WatchedFolderSettings(path=tmp_path / second),
            )
        )
