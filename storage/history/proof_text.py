"""Inclusion proofs as files that a stranger can check, in the form c2sp.org/tlog-proof@v1.

The line ``extra`` carries the event's bytes. The form leaves that line unauthenticated; here it is what the proof is
about: the hash of these very bytes is led to the root that the log signed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from storage.history.checkpoint_text import Checkpoint, SignedCheckpoint, open_checkpoint, parse_checkpoint
from storage.history.errors import ProofMalformed, ProofRefused
from storage.history.exact_text import as_base64, decoded, exact_base64, exact_decimal
from storage.history.merkle import HASH_BYTES, leaf_hash, verify_inclusion
from storage.history.note_keys import VerifierKey
from storage.history.notes import Note, parse_note

FORM = "c2sp.org/tlog-proof@v1"
SUFFIX = ".tlog-proof"
_EXTRA, _INDEX = "extra ", "index "
_LINES = 3


@dataclass(frozen=True, slots=True)
class InclusionProof:
    """The bytes of an event, where it stands in the log, what leads to the root, and the log's signed word."""

    entry: bytes
    index: int
    hashes: tuple[bytes, ...]
    note: Note

    @property
    def text(self) -> str:
        """The file."""
        lines = (FORM, _EXTRA + as_base64(self.entry), f"{_INDEX}{self.index}", *map(as_base64, self.hashes))
        return "".join(f"{line}\n" for line in lines) + f"\n{self.note}"


def parse_proof(text: str | bytes) -> InclusionProof:
    """Return the proof that a file spells. Raises ProofMalformed, NoteMalformed; nothing is checked yet."""
    try:
        head, empty_line, note = decoded(text).partition("\n\n")
    except ValueError as error:
        raise ProofMalformed(f"proof: it is not plain UTF-8 text: {error}") from None
    lines = head.split("\n")
    if lines[0] != FORM:
        raise ProofMalformed(f"proof, line 1: it must read {FORM}")
    if not empty_line or len(lines) < _LINES:
        raise ProofMalformed("proof: it ends before its checkpoint")
    entry = _base64(lines, 2, prefix=_EXTRA)
    hashes = tuple(_base64(lines, number) for number in range(4, len(lines) + 1))
    if any(len(item) != HASH_BYTES for item in hashes):
        raise ProofMalformed(f"proof, lines 4 to {len(lines)}: each must be a hash of {HASH_BYTES} bytes")
    return InclusionProof(entry, _index(lines[2]), hashes, parse_note(note))


def check_proof(proof: InclusionProof, log: VerifierKey, *, witnesses: Iterable[VerifierKey] = ()) -> SignedCheckpoint:
    """Check that the log signed a checkpoint under which the event stands; return it with its witnesses.

    Raises ProofRefused, NoteNotSigned, NoteSignatureWrong, CheckpointMalformed: which one says what does not hold.
    """
    signed = open_checkpoint(proof.note, log, witnesses=witnesses)
    _check_inclusion(proof, signed.checkpoint)
    return signed


def check_against(proof: InclusionProof, trusted: Checkpoint) -> None:
    """Check that the event stands under a checkpoint that one trusts by other means, as from an SR in the PACS.

    Raises ProofRefused, CheckpointMalformed.
    """
    own = parse_checkpoint(proof.note.text)
    if own.origin != trusted.origin:
        raise ProofRefused(f"proof: it is of the log {own.origin!r}, the trusted checkpoint of {trusted.origin!r}")
    if own.size != trusted.size:
        raise ProofRefused(
            f"proof: it is for a log of {own.size} events, the trusted checkpoint is of {trusted.size}: "
            "ask for a proof under that checkpoint"
        )
    if own.root != trusted.root:
        raise ProofRefused(
            f"proof: at {own.size} events its root is not the trusted one: the log was forked or rebuilt"
        )
    _check_inclusion(proof, trusted)


def _check_inclusion(proof: InclusionProof, checkpoint: Checkpoint) -> None:
    verify_inclusion(leaf_hash(proof.entry), proof.index, checkpoint.size, checkpoint.root, proof=proof.hashes)


def _base64(lines: list[str], number: int, *, prefix: str = "") -> bytes:
    """Return the bytes that line ``number``, from 1, spells behind its prefix. Raises ProofMalformed."""
    line = lines[number - 1]
    if not line.startswith(prefix):
        raise ProofMalformed(f"proof, line {number}: it must begin with {prefix!r}")
    try:
        return exact_base64(line.removeprefix(prefix))
    except ValueError as error:
        raise ProofMalformed(f"proof, line {number}: {error}") from None


def _index(line: str) -> int:
    try:
        if line.startswith(_INDEX):
            return exact_decimal(line.removeprefix(_INDEX))
    except ValueError:
        pass
    raise ProofMalformed(f"proof, line 3: it must read {_INDEX!r} and the number of the event in the log, from 0")
