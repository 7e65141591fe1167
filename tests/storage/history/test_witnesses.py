"""Checkpoints leave the database: to a file, a second database, a witness that signs what grew."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from storage import audit
from storage.database import Database
from storage.history import sealing
from storage.history.checkpoint_text import open_checkpoint, parse_checkpoint
from storage.history.errors import WitnessDisagrees, WitnessUnavailable
from storage.history.exact_text import exact_base64
from storage.history.merkle import verify_consistency
from storage.history.note_keys import SignatureKind, SigningKey
from storage.history.notes import cosign_note, parse_note
from storage.history.sealer import Sealer
from storage.history.witnesses import DatabaseWitness, FileWitness, HttpWitness, Witness
from tests.support.proving import KEY, problems

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
WITNESS = SigningKey("witness.example", Ed25519PrivateKey.from_private_bytes(bytes(32)), SignatureKind.COSIGNATURE)


class StrictWitness(HTTPServer):
    """Signs a checkpoint only where its log grew out of the last one that it signed: c2sp.org/tlog-witness."""

    size, root = 0, b""
    refuse = False

    def answer(self, body: str) -> tuple[int, str]:
        if self.refuse:
            return 403, "unknown key\n"
        head, _, note = body.partition("\n\n")
        old, *proof = head.split("\n")
        checkpoint = open_checkpoint(note, KEY.verifier).checkpoint
        if int(old.removeprefix("old ")) != self.size:
            return 409, f"{self.size}\n"
        if self.size:
            hashes = [exact_base64(line) for line in proof]
            verify_consistency(self.size, checkpoint.size, roots=(self.root, checkpoint.root), proof=hashes)
        self.size, self.root = checkpoint.size, checkpoint.root
        return 200, cosign_note(parse_note(note), WITNESS, at=1_772_366_400).line


class Handler(BaseHTTPRequestHandler):
    server: StrictWitness

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        status, text = self.server.answer(body)
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def http_witness() -> Iterator[StrictWitness]:
    server = StrictWitness(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def record(database: Database, events: int) -> None:
    with database.write() as session:
        for number in range(events):
            audit.record(session, "test:done", f"thing/{number}", actor="test", now=NOW)


def sealer(database: Database, *, near: tuple[Witness, ...] = (), far: tuple[Witness, ...] = ()) -> Sealer:
    return Sealer(database, KEY, owner="sealer", near=near, far=far, clock=lambda: NOW)


def test_a_file_holds_the_newest_checkpoint(database: Database, tmp_path: Path) -> None:
    witness = FileWitness(tmp_path / "away" / "checkpoint")
    assert witness.newest() is None
    for events in (3, 4):
        record(database, events)
        sealer(database, near=(witness,)).seal_once()
    newest = witness.newest()
    assert newest is not None
    assert open_checkpoint(newest, KEY.verifier).checkpoint.size == 7


def test_a_second_database_keeps_each_checkpoint_of_each_log(database: Database, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'second.sqlite'}"
    witness, other = DatabaseWitness(url, origin=KEY.name), DatabaseWitness(url, origin="other")
    for events in (3, 4):
        record(database, events)
        sealer(database, far=(witness,)).seal_once()
    newest = witness.newest()
    assert newest is not None
    assert parse_checkpoint(parse_note(newest).text).size == 7
    assert other.newest() is None


def test_a_witness_signs_what_grew_and_its_signature_stands_with_the_log(database: Database, tmp_path: Path) -> None:
    file = FileWitness(tmp_path / "checkpoint")
    with http_witness() as server:
        url = f"http://127.0.0.1:{server.server_port}"
        for events in (3, 300, 5):
            record(database, events)
            sealer(database, near=(file,), far=(HttpWitness(url),)).seal_once()  # each knows nothing of the one before
        assert server.size == 308
    with database.read() as session:
        row = sealing.newest_checkpoint(session)
    assert row is not None
    assert row.note == file.newest()
    (signed,) = open_checkpoint(row.note, KEY.verifier, witnesses=[WITNESS.verifier]).witnesses
    assert signed.key == WITNESS.verifier
    assert problems(database) == ()


def test_a_log_whose_end_was_cut_off_is_told_so_by_its_witness(database: Database) -> None:
    record(database, 3)
    sealer(database).seal_once()
    with http_witness() as server, database.read() as session:
        server.size = 10
        row = sealing.newest_checkpoint(session)
        assert row is not None
        with pytest.raises(WitnessDisagrees, match="signed this log at 10 events, it has 3: its end was cut off"):
            HttpWitness(f"http://127.0.0.1:{server.server_port}").publish(row.note, lambda *_: (), now=NOW)
        server.size, server.refuse = 0, True
        with pytest.raises(WitnessDisagrees, match="HTTP 403"):
            HttpWitness(f"http://127.0.0.1:{server.server_port}").publish(row.note, lambda *_: (), now=NOW)


def test_a_witness_that_is_not_there_does_not_hold_up_sealing(database: Database, tmp_path: Path) -> None:
    with http_witness() as server:
        port = server.server_port
    gone = HttpWitness(f"http://127.0.0.1:{port}")
    (tmp_path / "taken").write_text("")
    closed = FileWitness(tmp_path / "taken" / "checkpoint")
    record(database, 3)
    assert sealer(database, near=(closed,), far=(gone,)).seal_once() == 3
    with pytest.raises(WitnessUnavailable):
        closed.publish("", lambda *_: (), now=NOW)
    assert problems(database) == ()


def test_a_running_sealer_seals_and_lets_the_next_one_follow(database: Database) -> None:
    stop, sealed = threading.Event(), threading.Event()

    class Tells:
        name = "test"

        def publish(self, note: str, prove: object, *, now: datetime) -> str:
            del prove, now
            sealed.set()
            return note

        def newest(self) -> None:
            return None

    running = Sealer(database, KEY, owner="first", near=(Tells(),))
    thread = threading.Thread(target=running.run, args=(stop,))
    record(database, 3)
    thread.start()
    assert sealed.wait(60)
    stop.set()
    thread.join(60)
    record(database, 2)
    later = NOW + timedelta(days=365)
    assert Sealer(database, KEY, owner="second", clock=lambda: later).seal_once() == 2
    assert problems(database) == ()
