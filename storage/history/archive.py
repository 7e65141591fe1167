"""An archive of one month: a folder with its events and with all that proves them, readable without oncue.

``events.jsonl.gz`` has a line for each event, in the order of the log: its leaf number and the fields that are hashed.
``checkpoint`` is what the log signed, ``archive.json`` the hashes that lead from these events to it.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storage.errors import OncueError
from storage.history import archive_proof
from storage.history.checkpoint_text import Checkpoint, SignedCheckpoint, open_checkpoint
from storage.history.errors import ArchiveRefused, ArchiveWrong
from storage.history.exact_text import as_base64, exact_base64
from storage.history.leaves import FIELDS, leaf_data
from storage.history.merkle import HASH_BYTES, leaf_hash
from storage.history.note_keys import VerifierKey, parse_verifier_key

FORM = "oncue-audit-archive/1"
_EVENTS, _PROOF, _CHECKPOINT = "events.jsonl.gz", "archive.json", "checkpoint"
_AT = FIELDS.index("at")
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class ArchivedEvent:
    """One event: its leaf number, and the values of ``FIELDS``."""

    leaf: int
    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class ArchiveProof:
    """What leads from the events of a month to a signed checkpoint: the key's text, the note, hashes of the tree."""

    month: str
    key: str
    note: str
    hashes: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class CheckedArchive:
    """An archive that holds: its month, its events, their leaves as runs, its digest, and what it was proved by."""

    month: str
    events: int
    leaves: str
    sha256: str
    size: int
    key: str


def write_events(folder: Path, events: Iterable[ArchivedEvent]) -> tuple[int, ...]:
    """Write the events into a new folder; return their leaf numbers. Raises ArchiveRefused where it is there."""
    numbers: list[int] = []
    try:
        folder.mkdir(mode=0o700, parents=True)
        with (folder / _EVENTS).open("xb") as file, gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed:
            for event in events:
                packed.write(b'{"leaf":%d,"event":%b}\n' % (event.leaf, leaf_data(event.values)))
                numbers.append(event.leaf)
            packed.close()
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        raise ArchiveRefused(f"{folder} is there already: archives are never written over") from None
    except OSError as error:
        raise ArchiveRefused(f"the archive cannot be written to {folder}: {error.strerror}") from error
    return tuple(numbers)


def write_proof(folder: Path, proof: ArchiveProof) -> None:
    """Write what proves the events beside them. Raises ArchiveRefused."""
    said = {
        "form": FORM,
        "month": proof.month,
        "fields": FIELDS,
        "sha256": _digest(folder / _EVENTS),
        "key": proof.key,
        "hashes": [as_base64(one) for one in proof.hashes],
    }
    try:
        _write(folder / _CHECKPOINT, proof.note)
        _write(folder / _PROOF, json.dumps(said, indent=1) + "\n")
    except OSError as error:
        raise ArchiveRefused(f"the archive cannot be written to {folder}: {error.strerror}") from error


def check(folder: Path, *, key: VerifierKey | None = None, trusted: Checkpoint | None = None) -> CheckedArchive:
    """Prove an archive by itself, and return what it holds.

    Without ``key`` its own is taken, which shows that it is whole, and not whose it is. ``trusted`` is a checkpoint
    that one has by other means. Raises ArchiveWrong, or the error of the checkpoint that does not hold.
    """
    said = _said(folder)
    sha256 = _digest(folder / _EVENTS)
    if said["sha256"] != sha256:
        raise ArchiveWrong(f"{folder}: the events are not those that its proof was made for: the digest differs")
    signed = _signed(folder, key or parse_verifier_key(str(said["key"])))
    numbers, hashes = _leaves(folder, str(said["month"]))
    if not numbers or numbers[-1] >= signed.checkpoint.size:
        raise ArchiveWrong(f"{folder}: it has no event, or one that its checkpoint does not cover")
    outside = (_hash(one) for one in said["hashes"])
    if archive_proof.root(numbers, hashes, signed.checkpoint.size, outside) != signed.checkpoint.root:
        raise ArchiveWrong(f"{folder}: the events do not lead to the checkpoint: one was changed, added or left out")
    if trusted is not None:
        _agree(folder, signed.checkpoint, trusted)
    leaves = archive_proof.runs_text(archive_proof.runs(numbers))
    used = key.text if key else str(said["key"])
    return CheckedArchive(str(said["month"]), len(numbers), leaves, sha256, signed.checkpoint.size, used)


def read_events(folder: Path) -> Iterator[ArchivedEvent]:
    """Yield the events of an archive. Raises ArchiveWrong where a line is none."""
    number = 0
    try:
        with gzip.open(folder / _EVENTS, "rb") as lines:
            for number, line in enumerate(lines, start=1):
                said = json.loads(line)
                values = tuple(said["event"])
                if len(values) != len(FIELDS) or line != b'{"leaf":%d,"event":%b}\n' % (
                    said["leaf"],
                    leaf_data(values),
                ):
                    raise ArchiveWrong(f"{folder / _EVENTS}, line {number}: not written as an event is")
                yield ArchivedEvent(said["leaf"], values)
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise ArchiveWrong(f"{folder / _EVENTS}, after line {number}: it cannot be read") from error


def _leaves(folder: Path, month: str) -> tuple[list[int], bytes]:
    """Return numbers and hashes of all leaves, which ascend and lie in the month."""
    numbers: list[int] = []
    hashes = bytearray()
    for event in read_events(folder):
        if numbers and event.leaf <= numbers[-1]:
            raise ArchiveWrong(f"{folder}: leaf {event.leaf} stands behind leaf {numbers[-1]}")
        if not str(event.values[_AT]).startswith(f"{month}-"):
            raise ArchiveWrong(f"{folder}: leaf {event.leaf} is not of {month}")
        numbers.append(event.leaf)
        hashes += leaf_hash(leaf_data(event.values))
    return numbers, bytes(hashes)


def _said(folder: Path) -> dict[str, Any]:
    try:
        said: dict[str, Any] = json.loads((folder / _PROOF).read_text())
        if said["form"] != FORM or not {"month", "sha256", "key", "hashes"} <= said.keys():
            raise ArchiveWrong(f"{folder / _PROOF}: its form is not {FORM}")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArchiveWrong(f"{folder / _PROOF}: it is missing, or cannot be read") from error
    return said


def _signed(folder: Path, key: VerifierKey) -> SignedCheckpoint:
    try:
        return open_checkpoint((folder / _CHECKPOINT).read_bytes(), key)
    except OSError as error:
        raise ArchiveWrong(f"{folder / _CHECKPOINT}: it is missing, or cannot be read") from error
    except OncueError as error:
        raise ArchiveWrong(f"{folder / _CHECKPOINT}: {error}") from error


def _agree(folder: Path, own: Checkpoint, trusted: Checkpoint) -> None:
    if (own.origin, own.size, own.root) != (trusted.origin, trusted.size, trusted.root):
        raise ArchiveWrong(
            f"{folder}: its checkpoint is not the trusted one: {own.size} events of {own.origin} "
            f"against {trusted.size} of {trusted.origin}, or another root"
        )


def _hash(text: object) -> bytes:
    try:
        found = exact_base64(str(text))
    except ValueError:
        found = b""
    if len(found) != HASH_BYTES:
        raise ArchiveWrong("the archive's proof holds what is no hash")
    return found


def _digest(file: Path) -> str:
    digest = hashlib.sha256()
    try:
        with file.open("rb") as stream:
            while part := stream.read(_CHUNK):
                digest.update(part)
    except OSError as error:
        raise ArchiveWrong(f"{file}: it is missing, or cannot be read") from error
    return digest.hexdigest()


def _write(path: Path, content: str) -> None:
    with path.open("x", encoding="utf-8") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
