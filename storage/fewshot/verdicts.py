"""What the gate before a promotion says: plain words that model code and records share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """The outcome of one check, or of all of them."""

    PASS = "PASS"  # noqa: S105 - a verdict, no password
    FAIL = "FAIL"
    INSUFFICIENT = "INSUFFICIENT"
    """There is too little data to say: that blocks just as a failure does."""


@dataclass(frozen=True, slots=True)
class Check:
    """One check of the gate: what was measured, against which bound, and what follows in words.

    A check with ``blocks`` False is recorded and acted on, but does not stand in the way of a promotion.
    """

    name: str
    verdict: Verdict
    reason: str
    value: float | None = None
    bound: float | None = None
    blocks: bool = True

    @property
    def stands_in_the_way(self) -> bool:
        """Whether a promotion needs this check overridden."""
        return self.blocks and self.verdict is not Verdict.PASS


def overall(checks: Sequence[Check]) -> Verdict:
    """Return the worst verdict of the blocking checks: FAIL before INSUFFICIENT before PASS."""
    found = {check.verdict for check in checks if check.blocks}
    for verdict in (Verdict.FAIL, Verdict.INSUFFICIENT):
        if verdict in found:
            return verdict
    return Verdict.PASS
