"""Instances as requests and reports of storage commitment name them, and why one is not vouched for (PS3.4 J.3)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum


class FailureReason(IntEnum):
    """Failure Reason (0008,1197) as PS3.3 C.14.1.1 defines it."""

    PROCESSING_FAILURE = 0x0110
    NO_SUCH_OBJECT = 0x0112
    CLASS_INSTANCE_CONFLICT = 0x0119
    CLASS_NOT_SUPPORTED = 0x0122
    DUPLICATE_TRANSACTION = 0x0131
    OUT_OF_RESOURCES = 0x0213


@dataclass(frozen=True, slots=True)
class Reference:
    """One instance: its SOP class and its UID."""

    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True)
class Failure:
    """An instance that nobody vouches for; ``reason`` may be a number that the standard does not name."""

    reference: Reference
    reason: int


def references_text(references: Iterable[Reference]) -> str:
    """Return references as JSON text."""
    return _text([one.sop_class_uid, one.sop_instance_uid] for one in references)


def read_references(text: str) -> tuple[Reference, ...]:
    """Read what ``references_text`` wrote."""
    return tuple(Reference(*one) for one in json.loads(text))


def failures_text(failures: Iterable[Failure]) -> str:
    """Return failures as JSON text."""
    return _text([one.reference.sop_class_uid, one.reference.sop_instance_uid, int(one.reason)] for one in failures)


def read_failures(text: str) -> tuple[Failure, ...]:
    """Read what ``failures_text`` wrote."""
    return tuple(Failure(Reference(sop_class, instance), reason) for sop_class, instance, reason in json.loads(text))


def _text(items: Iterable[list[str | int]]) -> str:
    return json.dumps([*items], separators=(",", ":"))
