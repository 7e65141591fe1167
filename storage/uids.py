"""Deterministic UIDs: the same parts give the same UID for ever, so a result sent twice is stored once."""

from __future__ import annotations

import uuid

# Our own namespace; changing it would change every UID that oncue ever wrote.
_NAMESPACE = uuid.UUID("5a0f4c1e-6a3b-5d55-9d0e-0c6f1f1d7b21")
_SEPARATOR = "\x1f"


def deterministic_uid(kind: str, *parts: str) -> str:
    """Return a ``2.25.`` UID (PS3.5 B.2) from the UUIDv5 of ``kind`` and ``parts``; order matters."""
    name = _SEPARATOR.join((kind, *parts))
    return f"2.25.{uuid.uuid5(_NAMESPACE, name).int}"
