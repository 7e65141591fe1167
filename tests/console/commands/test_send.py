"""`oncue send`: what it says where files are not accepted."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from pydicom.uid import UID

from console.app import create_app
from console.config import ConsoleSettings
from storage.database import Database
from storage.objects import ObjectStore
from tests.conftest import ROOT
from tests.support.commands import oncue
from tests.support.gateways import running_gateway
from tests.support.peers import free_port
from tests.support.senders import ct_image
from tests.support.served_console import served
from tests.support.tokens import new_token


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "images"
    made.mkdir()
    for number in range(12):
        ct_image(number=number).save_as(made / f"{number:02}.dcm", enforce_file_format=True)
    return made


def test_an_association_that_cannot_be_opened_is_said_once_and_not_for_each_file(folder: Path) -> None:
    target = f"ONCUE@127.0.0.1:{free_port()}"
    ran = oncue("send", folder, target)
    first, reason = ran.out.splitlines()
    assert ran.code == 1
    assert first == f"0 of 12 instances accepted by {target}"
    assert reason.startswith(f"  {folder / '00.dcm'} and 11 more: [peer_unreachable] ")
    outcomes = oncue("send", folder, target, "--json").json
    assert [one["code"] for one in outcomes] == ["peer_unreachable"] * 12


def _with_uid(uid: str) -> bytes:
    """Return an image with a SOP Instance UID that pydicom does not write."""
    valid = UID("1.2.826.0.1.3680043.8.498.17.4")
    image = ct_image()
    image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = valid
    content = io.BytesIO()
    image.save_as(content, enforce_file_format=True)
    return content.getvalue().replace(valid.encode(), uid.encode().ljust(len(valid), b"\0"))


def test_an_invalid_uid_that_a_gateway_takes_is_sent_and_said_and_one_that_it_does_not_take_is_named(
    tmp_path: Path, sqlite_database: Database, objects: ObjectStore
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    (images / "zero.dcm").write_bytes(_with_uid("1.2.826.0.1.3680043.08.498.7.4"))
    (images / "word.dcm").write_bytes(_with_uid("1.2.826.SECRET.4"))
    (images / "notes.txt").write_text("no image")
    with running_gateway(sqlite_database, objects) as running:
        target = f"ONCUE@127.0.0.1:{running.port}"
        ran = oncue("send", images, target)
        as_json = oncue("send", images, target, "--json").json
        assert running.gateway.drain(30)
        assert [one.sop_instance_uid for one in running.instances()] == ["1.2.826.0.1.3680043.08.498.7.4"]
    first, *lines = ran.out.splitlines()
    assert (ran.code, first) == (1, f"1 of 2 instances accepted by {target}")
    word, zero = sorted(lines)
    assert word.startswith(f"  {images / 'word.dcm'}: [undecodable_object] the SOP Instance UID is no UID")
    assert zero.startswith(f"  {images / 'zero.dcm'}: accepted, and the SOP Instance UID is invalid")
    assert "SECRET" not in ran.out
    assert [(Path(one["file"]).name, one["verdict"], one["code"]) for one in as_json] == [
        ("word.dcm", "permanent", "undecodable_object"),
        ("zero.dcm", "stored", ""),
    ]


def test_a_file_that_is_refused_is_named(folder: Path, sqlite_database: Database, objects: ObjectStore) -> None:
    ct_image(number=99, rows=1024).save_as(folder / "large.dcm", enforce_file_format=True)
    with running_gateway(sqlite_database, objects, maximum_instance_megabytes=1) as running:
        target = f"ONCUE@127.0.0.1:{running.port}"
        ran = oncue("send", folder, target)
    said = ran.out.splitlines()
    assert ran.code == 1
    at = said.index(f"12 of 13 instances accepted by {target}")
    assert said[at + 1].startswith(f"  {folder / 'large.dcm'}: [peer_unreachable] ")


def test_what_was_accepted_before_is_not_sent_again_and_what_was_not_is(
    folder: Path, sqlite_database: Database, objects: ObjectStore, tmp_path: Path
) -> None:
    journal = tmp_path / "sent.txt"
    ct_image(number=99, rows=1024).save_as(folder / "large.dcm", enforce_file_format=True)
    with running_gateway(sqlite_database, objects, maximum_instance_megabytes=1) as running:
        target = f"ONCUE@127.0.0.1:{running.port}"
        first = oncue("send", folder, target, "--resume", journal)
        with journal.open("r+") as torn:
            torn.truncate(journal.stat().st_size - 7)
        ct_image(number=3, value=9).save_as(folder / "03.dcm", enforce_file_format=True)
        again = oncue("send", folder, target, "--resume", journal)
        changed = oncue("send", folder, target, "--resume", journal)
        (folder / "large.dcm").unlink()
        last = oncue("send", folder, target, "--resume", journal)
        elsewhere = oncue("send", folder, target.replace("127.0.0.1", "localhost"), "--resume", journal)
    said = [ran.out.splitlines() for ran in (first, again, changed, last, elsewhere)]
    counts = ["", ", 10 of them in an earlier run", ", 12 of them in an earlier run", ", 12 of them in an earlier run"]
    assert [ran.code for ran in (first, again, changed, last, elsewhere)] == [1, 1, 1, 0, 0]
    for lines, count, total in zip(said, counts, (13, 13, 13, 12), strict=False):
        assert f"12 of {total} instances accepted by {target}{count}" in lines
    assert "earlier" not in elsewhere.out
    assert "PATIENT" not in journal.read_text()


@pytest.mark.parametrize("ended", ["SIGKILL", "SIGINT"])
def test_a_run_that_was_ended_goes_on_where_it_was(
    folder: Path, sqlite_database: Database, objects: ObjectStore, tmp_path: Path, ended: str
) -> None:
    journal = tmp_path / "sent.txt"
    code, said = {"SIGKILL": (-9, ""), "SIGINT": (130, "the same command sends the rest")}[ended]
    with running_gateway(sqlite_database, objects) as running:
        target = f"ONCUE@127.0.0.1:{running.port}"
        program = "import sys; from tests.console.commands.test_send import send_and_die; send_and_die(*sys.argv[1:])"
        command = [sys.executable, "-c", program, str(folder), target, str(journal), ended]
        first = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=60)
        assert (first.returncode, said in first.stderr, "Traceback" in first.stderr) == (code, True, False)
        ran = oncue("send", folder, target, "--resume", journal)
    assert (ran.code, "12 of 12" in ran.out, "5 of them in an earlier run" in ran.out) == (0, True, True)


def send_and_die(folder: str, target: str, journal: str, ended: str) -> None:
    """Send a folder as the command does, and send this process a signal behind the fifth instance."""
    import os
    import signal

    from dicom_gateway.sending.send_journal import SendJournal

    # Whoever started the tests in the background may have told them, and so this process, to ignore it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    add, added = SendJournal.add, []

    def add_and_die(self: SendJournal, outgoing: object) -> None:
        add(self, outgoing)  # type: ignore[arg-type]  # passed on as it came
        added.append(outgoing)
        if len(added) == 5:
            os.kill(os.getpid(), signal.Signals[ended])

    SendJournal.add = add_and_die  # type: ignore[method-assign]  # the process ends here
    ran = oncue("send", folder, target, "--resume", journal)
    sys.stderr.write(ran.err)
    sys.exit(ran.code)


def test_a_file_that_is_no_journal_is_left_as_it_is(folder: Path) -> None:
    before = (folder / "00.dcm").read_bytes()
    ran = oncue("send", folder, "PACS@127.0.0.1:104", "--resume", folder / "00.dcm")
    assert (ran.code != 0, (folder / "00.dcm").read_bytes()) == (True, before)


def test_a_folder_is_sent_to_a_dicomweb_service_with_a_token(
    folder: Path, sqlite_database: Database, objects: ObjectStore, tmp_path: Path
) -> None:
    credentials, journal = tmp_path / "token", tmp_path / "sent.txt"
    credentials.write_text(new_token(sqlite_database))
    credentials.chmod(0o600)
    with served(create_app(sqlite_database, objects, ConsoleSettings())) as port:
        target = f"http://127.0.0.1:{port}/dicom-web"
        denied = oncue("send", folder, target)
        ran = oncue("send", folder, target, "--credentials", credentials, "--resume", journal)
        again = oncue("send", folder, target, "--credentials", credentials, "--resume", journal, "--json")
    assert (denied.code, "[peer_denied_access]" in denied.out) == (1, True)
    assert (ran.code, f"12 of 12 instances accepted by {target}" in ran.out) == (0, True)
    assert {one["reason"] for one in again.json} == {"accepted in an earlier run"}
    assert oncue("send", folder, "PACS@127.0.0.1:104", "--credentials", credentials).code == 2


def test_a_remark_of_the_log_is_on_standard_error_and_the_json_stays_whole(folder: Path, tmp_path: Path) -> None:
    credentials = tmp_path / "token"
    credentials.write_text("Bearer anything")
    credentials.chmod(0o644)
    address = f"http://127.0.0.1:{free_port()}/dicom-web"
    script = "from console.cli import main; main()"
    words = [sys.executable, "-c", script, "send", str(folder), address, "--credentials", str(credentials), "--json"]
    ran = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert len(json.loads(ran.stdout)) == 12
    assert "dicomweb.credentials_exposed" in ran.stderr


def test_ctrl_c_at_any_moment_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("console.cli._command", lambda: interrupted)
    ran = oncue("worklist")
    assert (ran.code, ran.out, ran.err) == (130, "", "")
