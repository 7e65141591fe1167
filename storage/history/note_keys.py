"""Keys that sign notes, and the public halves that check them: c2sp.org/signed-note, Ed25519 alone."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from enum import IntEnum

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from storage.history.errors import AuditKeyInvalid
from storage.history.exact_text import as_base64, exact_base64

_PUBLIC_BYTES = 32
_NAME_LIMIT = 255


class SignatureKind(IntEnum):
    """What a key signs, by the type byte of signed-note: the note's text, or a witness's statement on it."""

    ED25519 = 0x01
    COSIGNATURE = 0x04  # with the time, as c2sp.org/tlog-cosignature says


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """The public half of a key, with the name that its signatures carry. Two of one name may have other numbers."""

    name: str
    kind: SignatureKind
    public: bytes

    @property
    def key_id(self) -> bytes:
        """The four bytes that its signatures begin with."""
        return hashlib.sha256(b"%b\n%c%b" % (self.name.encode(), self.kind, self.public)).digest()[:4]

    @property
    def text(self) -> str:
        """The verifier key ("vkey") that people pass on: name, number, type and key, joined by ``+``."""
        return f"{self.name}+{self.key_id.hex()}+{as_base64(bytes([self.kind]) + self.public)}"

    def holds(self, signature: bytes, message: bytes) -> bool:
        """Return whether this key made the Ed25519 signature over the message."""
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, message)
        except (InvalidSignature, ValueError):
            return False
        return True


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key with the name that its signatures carry, which is the log's origin or a witness's name."""

    name: str
    private: Ed25519PrivateKey = field(repr=False)
    kind: SignatureKind = SignatureKind.ED25519

    @property
    def verifier(self) -> VerifierKey:
        """The public half."""
        return VerifierKey(self.name, self.kind, self.private.public_key().public_bytes_raw())

    def sign(self, message: bytes) -> bytes:
        """Return the Ed25519 signature over the message."""
        return self.private.sign(message)


def parse_verifier_key(text: str) -> VerifierKey:
    """Return the key that a vkey text spells. Raises AuditKeyInvalid, which says what is wrong with it."""
    parts = text.strip().split("+", 2)
    if len(parts) != 3:  # noqa: PLR2004 # the form names three parts
        raise AuditKeyInvalid("verifier key: it must read NAME+NUMBER+KEY in one piece")
    name, number, encoded = parts
    try:
        data = exact_base64(encoded)
        key = VerifierKey(checked_name(name), SignatureKind(data[0] if data else 0), data[1:])
    except ValueError as error:
        raise AuditKeyInvalid(
            f"verifier key of {name!r}: {error}; only Ed25519 keys (types 1 and 4) are read"
        ) from None
    if len(key.public) != _PUBLIC_BYTES:
        raise AuditKeyInvalid(f"verifier key of {name!r}: the key has {len(key.public)} bytes instead of 32")
    if key.key_id.hex() != number:
        raise AuditKeyInvalid(f"verifier key of {name!r}: its number is not that of its name and key: copy it anew")
    return key


def checked_name(name: str) -> str:
    """Return a name that signature lines can carry. Raises ValueError where it cannot be one."""
    if not name or len(name) > _NAME_LIMIT or "+" in name or not name.isprintable() or any(map(str.isspace, name)):
        raise ValueError("a key's name has 1 to 255 printable characters, no space and no plus sign")
    return name
