"""What is written into a received file's preamble until its row is committed: all that the row needs beside the file.

A DICOM file begins with 128 bytes that are free for any use (PS3.10 7.1). So a file with a receipt is a file like any
other, no reader stumbles over it, and taking the receipt out changes neither its size nor where its bytes lie. A peer
cannot forge one: what it sends begins behind the preamble.
"""

from __future__ import annotations

import hashlib
import struct
import uuid
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from storage.domain import Lane

PREAMBLE_BYTES = 128
BLANK = bytes(PREAMBLE_BYTES)
"""The preamble of a file whose row is committed; digests are those of files with this one."""

REGISTERED_AT, REGISTERED = PREAMBLE_BYTES - 1, b"\x01"
"""Where a receipt says that the row of its file is there, and what it then holds: a hint that may get lost."""

_MAGIC = b"ONCUE\x00\x00\x01"
_FIELDS = struct.Struct("<8s32sQ16s16s16sBq")
_CHECK = struct.Struct("<L")
_LANES = (Lane.STAT, Lane.ROUTINE, Lane.BATCH)
_NO_ASSOCIATION = bytes(16)
_REMEMBERED = 256
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Receipt:
    """Who sent a file, when it was whole, and what it must hash to; ``digest`` is SHA-256 in lower-case hex."""

    digest: str
    size_bytes: int
    study_key: bytes
    calling_aet: str
    association_id: str | None
    lane: Lane
    received_at: datetime


@lru_cache(maxsize=_REMEMBERED)
def study_key(study_instance_uid: str) -> bytes:
    """Return what stands for a study in a receipt: 16 bytes, for its UID may be as long as half a preamble."""
    return hashlib.sha256(study_instance_uid.encode()).digest()[:16]


def preamble(receipt: Receipt) -> bytes:
    """Return the 128 bytes that hold a receipt."""
    fields = _FIELDS.pack(
        _MAGIC,
        bytes.fromhex(receipt.digest),
        receipt.size_bytes,
        receipt.study_key,
        receipt.calling_aet.encode("ascii", errors="replace")[:16].ljust(16),
        _association_bytes(receipt.association_id),
        _LANES.index(receipt.lane),
        (receipt.received_at - _EPOCH) // timedelta(microseconds=1),
    )
    return (fields + _CHECK.pack(zlib.crc32(fields))).ljust(PREAMBLE_BYTES, b"\0")


@lru_cache(maxsize=_REMEMBERED)
def _association_bytes(association_id: str | None) -> bytes:
    return _NO_ASSOCIATION if association_id is None else uuid.UUID(association_id).bytes


def read(start: bytes) -> Receipt | None:
    """Return the receipt that a file begins with; None where there is none, or it is not whole."""
    if len(start) < PREAMBLE_BYTES or not start.startswith(_MAGIC):
        return None
    fields = start[: _FIELDS.size]
    (check,) = _CHECK.unpack_from(start, _FIELDS.size)
    _, digest, size, key, title, association, lane, microseconds = _FIELDS.unpack(fields)
    if check != zlib.crc32(fields) or lane >= len(_LANES):
        return None
    return Receipt(
        digest=digest.hex(),
        size_bytes=size,
        study_key=key,
        calling_aet=title.decode("ascii", errors="replace").rstrip(),
        association_id=None if association == _NO_ASSOCIATION else str(uuid.UUID(bytes=association)),
        lane=_LANES[lane],
        received_at=_EPOCH + timedelta(microseconds=microseconds),
    )


def is_registered(start: bytes) -> bool:
    """Say whether a receipt's file is known to have its row."""
    return start[REGISTERED_AT : REGISTERED_AT + 1] == REGISTERED


def begins_with_one(start: bytes) -> bool:
    """Say whether a file begins with a receipt, whole or not."""
    return start.startswith(_MAGIC)
