"""Proving a log in a test: what is unsealed is sealed with a key of the test's own first."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from storage.database import Database, utc_now
from storage.history import sealing
from storage.history.note_keys import SigningKey
from storage.history.verification import verify

KEY = SigningKey("oncue-test", Ed25519PrivateKey.from_private_bytes(bytes(range(32))))


def seal(database: Database) -> None:
    """Seal whatever is unsealed."""
    with database.write() as session:
        sealing.seal(session, KEY, owner="test", now=utc_now())


def problems(database: Database) -> tuple[str, ...]:
    """Return what does not hold of a log that nobody else seals; nothing where all does."""
    seal(database)
    with database.snapshot() as session:
        return verify(session, KEY.verifier).problems
