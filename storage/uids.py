"""UIDs: what can be one, and ours, which are deterministic, so that a result sent twice is stored once."""

from __future__ import annotations

import re
import uuid

# Our own namespace; changing it would change every UID that oncue ever wrote.
_NAMESPACE = uuid.UUID("5a0f4c1e-6a3b-5d55-9d0e-0c6f1f1d7b21")
_SEPARATOR = "\x1f"
_UID = re.compile(r"[0-9.]{1,64}\Z")


def deterministic_uid(kind: str, *parts: str) -> str:
    """Return a ``2.25.`` UID (PS3.5 B.2) from the UUIDv5 of ``kind`` and ``parts``; order matters."""
    name = _SEPARATOR.join((kind, *parts))
    return f"2.25.{uuid.uuid5(_NAMESPACE, name).int}"


def is_uid(text: str) -> bool:
    """Say whether a text can be a UID: 1 to 64 digits and dots.

    Leading zeros in a component break PS3.5 9.1 but are common in the field, so they pass.
    """
    return _UID.match(text) is not None
