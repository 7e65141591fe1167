"""Folds of patients: each network of a family leaves out some, so that everyone is scored by one that never saw them.

Patients are dealt out in the order of their names' digests, so that folds are of equal size. No test patient is among
them. A family with one fold has one network, trained on the training patients, and is tuned on the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab.patients import Role, by_digest, is_seen_whole, role

if TYPE_CHECKING:
    from collections.abc import Iterable

KEPT_IN = frozenset({Role.TRAIN, Role.TUNE})


@dataclass(frozen=True, slots=True)
class Fold:
    """One network's part: who is left out of its training altogether; None where the roles of patients decide."""

    number: int
    left_out: frozenset[str] | None = None

    def shows_free(self, patient: str) -> bool:
        """Say whether the first round may be shown a patient's slices without tumour."""
        if self.left_out is None:
            return role(patient) is Role.TRAIN
        return role(patient) in KEPT_IN and patient not in self.left_out

    def shows_whole(self, patient: str) -> bool:
        """Say whether the second round may be shown a patient's whole stacks, tumours included, without their masks."""
        return is_seen_whole(patient) if self.left_out is None else self.shows_free(patient)


UNFOLDED = Fold(0)


def deal(patients: Iterable[str], count: int) -> tuple[Fold, ...]:
    """Return the folds of the patients who are not test patients; ``UNFOLDED`` alone for a ``count`` of 1."""
    if count == 1:
        return (UNFOLDED,)
    order = by_digest(patient for patient in set(patients) if role(patient) in KEPT_IN)
    return tuple(Fold(number, frozenset(order[number::count])) for number in range(count))
