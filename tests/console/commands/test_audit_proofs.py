"""`oncue audit verify | prove | check-proof | checkpoint` as an auditor and a stranger use them."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import Comprehensive3DSRStorage, ExplicitVRLittleEndian
from pymerkle.hasher import MerkleHasher
from sqlalchemy import text

from dicom_gateway.objects.audit_checkpoint import checkpoint_item
from storage import audit
from storage.database import Database, connect
from tests.support.commands import Ran, oncue
from tests.support.guards import guards_off

ROOT = Path(__file__).parents[3]
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def state(tmp_path: Path, sqlite_template: Path) -> Path:
    shutil.copy(sqlite_template, tmp_path / "oncue.sqlite")
    database = opened(tmp_path)
    record(database, 9)
    database.dispose()
    return tmp_path


def opened(state: Path) -> Database:
    return connect(f"sqlite:///{state / 'oncue.sqlite'}")


def record(database: Database, events: int) -> None:
    with database.write() as session:
        for number in range(events):
            at = NOW + timedelta(minutes=number)
            audit.record(session, "test:done", f"thing/{number}", actor="Jane Ñ", now=at, details={"n": number})


def ask(state: Path, *words: str) -> Ran:
    return oncue("audit", *words, "--state", state)


def test_the_log_is_proved_and_then_only_what_is_new(state: Path) -> None:
    whole = ask(state, "verify", "--json").json
    assert (whole["events"], whole["size"], whole["problems"]) == (9, 9, [])
    database = opened(state)
    record(database, 2)
    database.dispose()
    new = ask(state, "verify", "--since-checkpoint", "--json").json
    assert (new["events"], new["since"], new["size"]) == (2, 9, 11)
    assert (state / "audit" / "key").stat().st_mode & 0o077 == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a folder to another user")
@pytest.mark.parametrize("words", [("verify",), ("prove", "4"), ("checkpoint", "--key")], ids=" ".join)
def test_no_key_is_made_for_another_user_than_the_folders(state: Path, words: tuple[str, ...]) -> None:
    os.chown(state, 54321, 54321)
    refused = ask(state, *words)
    assert refused.code == 1
    assert "error [audit_key_invalid]: " in refused.err
    assert f"the owner of {state}" in refused.err
    assert not (state / "audit").exists()
    os.chown(state, os.geteuid(), os.getegid())
    assert ask(state, *words).code == 0


def test_a_stranger_checks_an_event_with_the_key_or_with_a_checkpoint_alone(state: Path, tmp_path: Path) -> None:
    proof, kept = tmp_path / "event.tlog-proof", tmp_path / "kept"
    assert ask(state, "prove", "4", "--out", str(proof)).code == 0
    kept.write_text(ask(state, "checkpoint").out)
    key = ask(state, "checkpoint", "--key").out.strip()
    for trusted in (("--key", key), ("--checkpoint", str(kept))):
        checked = oncue("audit", "check-proof", proof, *trusted, "--json")
        assert checked.json["event"][:5] == [4, "2026-03-01T12:03:00.000000+00:00", "test:done", "thing/3", "Jane Ñ"]
    changed = proof.read_text().replace("extra ", "extra A", 1)
    proof.write_text(changed)
    refused = oncue("audit", "check-proof", proof, "--key", key)
    assert refused.code == 1
    assert "[proof_" in refused.err


def test_a_report_in_the_pacs_is_a_checkpoint_that_proofs_lead_to(state: Path, tmp_path: Path) -> None:
    report, proof = tmp_path / "report.dcm", tmp_path / "event.tlog-proof"
    assert ask(state, "verify").code == 0
    document = Dataset()
    document.SOPClassUID, document.SOPInstanceUID = Comprehensive3DSRStorage, "1.2.3"
    document.ContentSequence = [checkpoint_item(ask(state, "checkpoint").out)]
    document.file_meta = FileMetaDataset()
    document.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    document.save_as(report, enforce_file_format=True)
    database = opened(state)
    record(database, 3)
    database.dispose()
    assert ask(state, "verify", "--checkpoint", str(report)).code == 0  # the log grew, and agrees
    assert ask(state, "prove", "2", "--checkpoint", str(report), "--out", str(proof)).code == 0
    assert oncue("audit", "check-proof", proof, "--checkpoint", report).code == 0
    late = ask(state, "prove", "11", "--checkpoint", str(report))
    assert (late.code, "that checkpoint is of 9 events" in late.err) == (1, True)


def test_another_implementation_comes_to_the_same_root(state: Path) -> None:
    lines = ask(state, "prove", "9").out.split("\n")
    entry, index = base64.b64decode(lines[1].removeprefix("extra ")), int(lines[2].removeprefix("index "))
    end = lines.index("")
    path, root = [base64.b64decode(line) for line in lines[3:end]], base64.b64decode(lines[end + 3])
    hasher = MerkleHasher("sha256")
    assert (index, int(lines[end + 2])) == (8, 9)
    assert hasher.hash_pair(path[0], hasher.hash_buff(entry)) == root  # the ninth of nine stands alone on the right
    assert hasher.hash_buff(entry) == hashlib.sha256(b"\0" + entry).digest()


def test_a_changed_event_is_named_with_exit_code_1(state: Path) -> None:
    assert ask(state, "verify").code == 0
    tampered(state, "UPDATE audit_events SET actor = 'nobody' WHERE seq = 5")
    found = ask(state, "verify", "--json")
    assert found.code == 1
    assert "[audit_chain_broken]: event 5 (leaf 4) was changed" in found.err
    assert json.loads(found.out)["problems"][0].startswith("event 5 (leaf 4)")


def test_a_tail_cut_off_is_seen_by_the_checkpoint_file_and_by_one_from_elsewhere(state: Path, tmp_path: Path) -> None:
    assert ask(state, "verify").code == 0
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text(ask(state, "checkpoint").out)
    tampered(
        state,
        "DELETE FROM audit_events",
        "DELETE FROM audit_leaves",
        "DELETE FROM audit_tiles",
        "DELETE FROM audit_checkpoints",
        "DELETE FROM audit_counts",
        "UPDATE audit_log SET size = 0",
    )
    found = ask(state, "verify")
    assert found.code == 1
    assert "the checkpoint file has a checkpoint of 9 events, the log has 0: its end was cut off" in found.err
    (state / "audit" / "checkpoint").unlink()
    found = ask(state, "verify", "--checkpoint", str(elsewhere))
    assert "elsewhere has a checkpoint of 9 events" in found.err


def test_a_lost_key_is_not_quietly_replaced(state: Path) -> None:
    assert ask(state, "verify").code == 0
    (state / "audit" / "key").unlink()
    found = ask(state, "verify")
    assert found.code == 1
    assert "[audit_key_invalid]" in found.err
    assert "bring it back from a backup" in found.err
    assert not (state / "audit" / "key").exists()


def test_an_event_that_is_not_there_cannot_be_proved(state: Path) -> None:
    found = ask(state, "prove", "10")
    assert found.code == 1
    assert "there is no audit event 10" in found.err


@pytest.mark.parametrize("event", [1, 6, 9])
def test_the_lines_of_the_documentation_check_a_proof(state: Path, tmp_path: Path, event: int) -> None:
    proof = tmp_path / "event.tlog-proof"
    assert ask(state, "prove", str(event), "--out", str(proof)).code == 0
    (lines,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "audit.md").read_text(), flags=re.DOTALL)
    assert lines.count("\n") <= 20
    ran = subprocess.run([sys.executable, "-c", lines, proof], capture_output=True, text=True, check=True)
    assert f"thing/{event - 1}" in ran.stdout
    assert "stands under" in ran.stdout
    assert "NOT" not in ran.stdout


def tampered(state: Path, *statements: str) -> None:
    database = opened(state)
    with guards_off(database), database.write() as session:
        for statement in statements:
            session.execute(text(statement))
    database.dispose()
