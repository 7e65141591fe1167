"""Checkpoints, as c2sp.org/tlog-checkpoint writes them: the log's name, its size, its root, signed as a note."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from storage.history.errors import CheckpointMalformed, NoteNotSigned
from storage.history.exact_text import as_base64, exact_base64, exact_decimal
from storage.history.merkle import EMPTY_ROOT, HASH_BYTES
from storage.history.note_keys import SigningKey, VerifierKey
from storage.history.notes import Note, VerifiedSignature, parse_note, sign_note, verify_note

_LINES = 3


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a log says of itself: its origin, how many leaves it has, the root over them.

    ``extensions`` are further lines that a foreign log may sign; this one writes none.
    """

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The text that is signed."""
        return "".join(f"{line}\n" for line in (self.origin, self.size, as_base64(self.root), *self.extensions))


@dataclass(frozen=True, slots=True)
class SignedCheckpoint:
    """A checkpoint that its log signed, with the witnesses that cosigned it."""

    checkpoint: Checkpoint
    note: Note
    witnesses: tuple[VerifiedSignature, ...]


def parse_checkpoint(text: str) -> Checkpoint:
    """Return what the text of a note spells. Raises CheckpointMalformed; signatures are another matter."""
    lines = text.split("\n")
    if len(lines) <= _LINES or lines.pop() or not all(lines):
        raise CheckpointMalformed("checkpoint: it must have three lines, none of them empty: origin, size, root")
    origin, size_text, root_text, *extensions = lines
    try:
        size, root = exact_decimal(size_text), exact_base64(root_text)
    except ValueError as error:
        raise CheckpointMalformed(f"checkpoint: size or root cannot be read: {error}") from None
    if len(root) != HASH_BYTES:
        raise CheckpointMalformed(f"checkpoint: the root has {len(root)} bytes instead of {HASH_BYTES}")
    if size == 0 and root != EMPTY_ROOT:
        raise CheckpointMalformed("checkpoint: a log without leaves has another root")
    return Checkpoint(origin, size, root, tuple(extensions))


def sign_checkpoint(checkpoint: Checkpoint, key: SigningKey) -> Note:
    """Return the checkpoint signed by its log. Raises CheckpointMalformed where the key is another log's."""
    if checkpoint.origin != key.name:
        raise CheckpointMalformed(f"checkpoint: its origin is {checkpoint.origin!r}, the key is of {key.name!r}")
    return sign_note(checkpoint.text, key)


def open_checkpoint(
    text: str | bytes | Note, log: VerifierKey, *, witnesses: Iterable[VerifierKey] = ()
) -> SignedCheckpoint:
    """Return the checkpoint that the log signed, with those of these witnesses that cosigned it.

    Raises NoteMalformed, NoteNotSigned where the log's own signature is missing, NoteSignatureWrong,
    CheckpointMalformed where the origin is not the name of the log's key.
    """
    note = text if isinstance(text, Note) else parse_note(text)
    signatures = verify_note(note, (log, *witnesses))
    if all(signature.key != log for signature in signatures):
        raise NoteNotSigned(f"checkpoint: witnesses signed it, the log {log.name} ({log.key_id.hex()}) did not")
    checkpoint = parse_checkpoint(note.text)
    if checkpoint.origin != log.name:
        raise CheckpointMalformed(f"checkpoint: its origin is {checkpoint.origin!r}, the key is of {log.name!r}")
    return SignedCheckpoint(checkpoint, note, tuple(signature for signature in signatures if signature.key != log))
