"""Signed notes, as c2sp.org/signed-note writes them: a text, an empty line, one line for each signature.

Signatures of unknown keys are kept and never judged: a witness's cosignature stands beside the log's own.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass

from storage.history.errors import NoteMalformed, NoteNotSigned, NoteSignatureWrong
from storage.history.exact_text import as_base64, decoded, exact_base64
from storage.history.note_keys import SignatureKind, SigningKey, VerifierKey, checked_name

_DASH = "\N{EM DASH} "
_KEY_ID_BYTES = 4
_TIMED = struct.Struct(">Q64s")  # tlog-cosignature: POSIX time, Ed25519 signature
_LATEST = (1 << 63) - 1
_MOST_SIGNATURES = 100
_MOST_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class NoteSignature:
    """One signature line: the name of the key, its number, and what its algorithm made."""

    name: str
    key_id: bytes
    value: bytes

    @property
    def line(self) -> str:
        """The line, with its newline."""
        return f"{_DASH}{self.name} {as_base64(self.key_id + self.value)}\n"

    def is_by(self, key: VerifierKey) -> bool:
        """Return whether it claims to be of this key."""
        return (self.name, self.key_id) == (key.name, key.key_id)


@dataclass(frozen=True, slots=True)
class Note:
    """A text, which ends in a newline, and signatures on it that nobody has checked yet."""

    text: str
    signatures: tuple[NoteSignature, ...]

    def __str__(self) -> str:
        return f"{self.text}\n{''.join(signature.line for signature in self.signatures)}"

    def with_signatures(self, more: Iterable[NoteSignature]) -> Note:
        """Return the note with further signatures behind those that it has; none stands twice."""
        return Note(self.text, tuple(dict.fromkeys((*self.signatures, *more))))


@dataclass(frozen=True, slots=True)
class VerifiedSignature:
    """A signature that holds: whose it is, and for a witness when it was made (POSIX seconds)."""

    key: VerifierKey
    at: int | None


def parse_note(text: str | bytes) -> Note:
    """Return the note that a text spells. Raises NoteMalformed; nothing is verified."""
    try:
        whole = decoded(text)
    except ValueError as error:
        raise NoteMalformed(f"signed note: it is not plain UTF-8 text: {error}") from None
    if len(whole) > _MOST_BYTES:
        raise NoteMalformed(f"signed note: longer than {_MOST_BYTES} characters")
    body, empty_line, signatures = whole.rpartition("\n\n")
    if not empty_line:
        raise NoteMalformed("signed note: no empty line between text and signatures")
    return Note(f"{body}\n", parse_signatures(signatures))


def parse_signatures(text: str | bytes) -> tuple[NoteSignature, ...]:
    """Return what signature lines spell, one at least, as a witness answers with. Raises NoteMalformed."""
    try:
        whole = decoded(text)
    except ValueError as error:
        raise NoteMalformed(f"signature lines: they are not plain UTF-8 text: {error}") from None
    *lines, rest = whole.split("\n")
    if rest:
        raise NoteMalformed("signature lines: the last one does not end in a newline")
    if not 1 <= len(lines) <= _MOST_SIGNATURES:
        raise NoteMalformed(f"signature lines: there must be 1 to {_MOST_SIGNATURES}, not {len(lines)}")
    return tuple(_signature(number, line) for number, line in enumerate(lines, start=1))


def sign_note(text: str, *keys: SigningKey) -> Note:
    """Return the text signed by these keys. Raises NoteMalformed where the text cannot be a note's."""
    try:
        message = decoded(text).encode()
    except ValueError as error:
        raise NoteMalformed(f"signed note: the text to be signed is not plain: {error}") from None
    note = Note(text, tuple(NoteSignature(key.name, key.verifier.key_id, key.sign(message)) for key in keys))
    if not text.endswith("\n") or parse_note(str(note)) != note:
        raise NoteMalformed("signed note: the text to be signed must end in a newline")
    return note


def cosign_note(note: Note, key: SigningKey, *, at: int) -> NoteSignature:
    """Return a witness's signature on a checkpoint, made at POSIX time ``at`` (c2sp.org/tlog-cosignature)."""
    value = _TIMED.pack(at, key.sign(_cosigned(note.text, at)))
    return NoteSignature(key.name, key.verifier.key_id, value)


def verify_note(note: Note, known: Iterable[VerifierKey]) -> tuple[VerifiedSignature, ...]:
    """Return the signatures of the known keys, all of which hold; others are passed over.

    Raises NoteSignatureWrong where one of a known key does not hold, NoteNotSigned where there is none.
    """
    keys = tuple(known)
    verified = tuple(
        _verified(note.text, signature, key) for signature in note.signatures for key in keys if signature.is_by(key)
    )
    if not verified:
        names = ", ".join(f"{key.name} ({key.key_id.hex()})" for key in keys)
        raise NoteNotSigned(f"signed note: none of its signatures is of a key that is trusted here: {names or 'none'}")
    return verified


def _signature(number: int, line: str) -> NoteSignature:
    name, space, encoded = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH) or not space:
        raise NoteMalformed(f"signature line {number}: it must read EM DASH, space, name, space, signature")
    try:
        data = exact_base64(encoded)
        checked_name(name)
    except ValueError as error:
        raise NoteMalformed(f"signature line {number}: {error}") from None
    if len(data) <= _KEY_ID_BYTES:
        raise NoteMalformed(f"signature line {number}: {len(data)} bytes are no signature")
    return NoteSignature(name, data[:_KEY_ID_BYTES], data[_KEY_ID_BYTES:])


def _verified(text: str, signature: NoteSignature, key: VerifierKey) -> VerifiedSignature:
    at, message, value = None, text.encode(), signature.value
    if key.kind is SignatureKind.COSIGNATURE and len(value) == _TIMED.size:
        at, value = _TIMED.unpack(value)
        message = _cosigned(text, at)
    timed = at is not None and at <= _LATEST
    if timed != (key.kind is SignatureKind.COSIGNATURE) or not key.holds(value, message):
        raise NoteSignatureWrong(
            f"signed note: the signature of {key.name} ({key.key_id.hex()}) does not fit the text: one was changed"
        )
    return VerifiedSignature(key, at)


def _cosigned(text: str, at: int) -> bytes:
    """Return what a witness signs."""
    return f"cosignature/v1\ntime {at}\n{text}".encode()
