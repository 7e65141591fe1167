"""What the doctor says of each part of an installation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from console.installation import Installation


class PartHealth(StrEnum):
    """How a part is: a remark is what merely does not run."""

    FINE = "fine"
    REMARK = "remark"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class ExaminedPart:
    """One part, how it is, and why; the fields are the keys of ``oncue doctor --json``."""

    subject: str
    verdict: PartHealth
    detail: str


Probe = Callable[[Installation], Iterator[ExaminedPart]]
"""Looks at one part; it may raise any OncueError, and ImportError where a library is not installed."""
