"""Proofs of an installation's audit log: of all of it, of what is new, of one event."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pydicom.errors
from sqlalchemy import select
from sqlalchemy.orm import Session

from console.history.log_key import far_witnesses, key_of_a_command, near_witnesses, seal_now
from console.installation import Installation
from dicom_gateway.objects.audit_checkpoint import checkpoint_of
from storage.audit_tables import AuditLeafRow
from storage.errors import OncueError, RecordMissing
from storage.history import sealing, tiles
from storage.history.checkpoint_text import Checkpoint, open_checkpoint, parse_checkpoint
from storage.history.errors import CheckpointMalformed
from storage.history.leaves import COLUMNS, EVENTS, leaf_data
from storage.history.note_keys import VerifierKey
from storage.history.notes import parse_note
from storage.history.proof_text import InclusionProof
from storage.history.verification import Trusted, Verification, verify
from storage.history.witnesses import FileWitness
from storage.progress import OnProgress, unheard

_PREAMBLE = 128
PROVED_NAME = "proved"
"""File beside the key that holds the checkpoint up to which the log was last proved."""


def verified(
    installation: Installation,
    *,
    key: VerifierKey | None = None,
    since_checkpoint: bool = False,
    files: tuple[Path, ...] = (),
    on_progress: OnProgress = unheard,
) -> Verification:
    """Prove the log, and hold it against every witness and every checkpoint file that is named.

    Without ``key``, the log's public one, this is the log's own machine: what is unsealed is sealed first, and where
    all holds, the newest checkpoint is kept as the one that the next proof may begin at. Guards that the
    database lacks are problems, too.
    """
    owns = key is None
    if key is None:
        key = key_of_a_command(installation).verifier
        seal_now(installation)
    trusted = (*_of_witnesses(installation, key), *(_of_file(path, key) for path in files))
    kept = FileWitness(proved_path(installation), name="file of the last proof")
    with installation.database.snapshot() as session:
        since = _opened(kept.newest(), key) if since_checkpoint else None
        found = verify(session, key, since=since, trusted=trusted, on_progress=on_progress)
        newest = sealing.newest_checkpoint(session)
    if owns and not found.problems and newest is not None and newest.size == found.size:
        kept.publish(newest.note, lambda *_: (), now=newest.made_at)
    return found


def proof_of(installation: Installation, seq: int, *, under: str | None = None) -> InclusionProof:
    """Return what proves one event to a stranger; an event that is not sealed yet is sealed first, where that can be.

    ``under`` is the checkpoint that the stranger has; by default it is the newest. RecordMissing where there is no such
    event, where another process has yet to seal it, or where it came after that checkpoint.
    """
    with installation.database.read() as session:
        leaf = _leaf(session, seq)
    if leaf is None:
        seal_now(installation)
    with installation.database.read() as session:
        leaf = _leaf(session, seq)
        newest = sealing.newest_checkpoint(session)
        if leaf is None or newest is None:
            raise RecordMissing(f"event {seq} is not sealed yet; try again in a second")
        note = parse_note(under or newest.note)
        size = parse_checkpoint(note.text).size
        if not leaf < size <= newest.size:
            raise RecordMissing(f"event {seq} is leaf {leaf}, that checkpoint is of {size} events")
        event = session.execute(select(*COLUMNS).where(EVENTS.c.seq == seq)).one_or_none()
        if event is None:
            raise RecordMissing(f"event {seq} was sealed, and is not in this database any more: look into the archives")
        hashes = tiles.inclusion_proof(leaf, size, sealing.read_tile(session))
        return InclusionProof(leaf_data(tuple(event)), leaf, hashes, note)


def proved_path(installation: Installation) -> Path:
    """Return where the checkpoint of the last proof is kept."""
    return installation.settings.audit.key_path(installation.state).with_name(PROVED_NAME)


def _leaf(session: Session, seq: int) -> int | None:
    """Return the leaf of an event, None where it is not sealed yet; RecordMissing where there is no such event."""
    leaf = session.scalar(select(AuditLeafRow.number).where(AuditLeafRow.seq == seq))
    if leaf is None and session.scalar(select(EVENTS.c.seq).where(EVENTS.c.seq == seq)) is None:
        raise RecordMissing(f"there is no audit event {seq}; see `oncue audit list`")
    return leaf


def _of_witnesses(installation: Installation, key: VerifierKey) -> tuple[Trusted, ...]:
    witnesses = (*near_witnesses(installation), *far_witnesses(installation))
    found = ((witness.name, witness.newest()) for witness in witnesses)
    return tuple(
        Trusted(f"the {name}", open_checkpoint(note, key).checkpoint) for name, note in found if note is not None
    )


def _of_file(path: Path, key: VerifierKey) -> Trusted:
    try:
        return Trusted(str(path), open_checkpoint(checkpoint_text(path), key).checkpoint)
    except OncueError as error:
        raise CheckpointMalformed(f"{path}: {error}") from error


def checkpoint_text(path: Path) -> str:
    """Return the checkpoint that a file holds, or that a report does which is a DICOM file. CheckpointMalformed."""
    try:
        content = path.read_bytes()
        if content[_PREAMBLE : _PREAMBLE + 4] != b"DICM":
            return content.decode()
        found = checkpoint_of(pydicom.dcmread(path))
    except (OSError, UnicodeDecodeError, pydicom.errors.InvalidDicomError) as error:
        raise CheckpointMalformed(f"{path} cannot be read as a checkpoint ({type(error).__name__})") from error
    if found is None:
        raise CheckpointMalformed(f"{path} is a DICOM object without a checkpoint of an audit log")
    return found


def _opened(note: str | None, key: VerifierKey) -> Checkpoint | None:
    return None if note is None else open_checkpoint(note, key).checkpoint
