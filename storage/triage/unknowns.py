"""What a policy asks and the inputs of a decision do not hold: a rule that asks it cannot hold."""

from __future__ import annotations

from dataclasses import dataclass

from storage.triage.case import Case, Fact
from storage.triage.policy import Policy


@dataclass(frozen=True, slots=True)
class Unknowns:
    """What each rule of a policy asks, in the order of the policy."""

    asked: tuple[tuple[str, frozenset[Fact]], ...]

    @classmethod
    def of(cls, policy: Policy) -> Unknowns:
        """Look through the rules of a policy, once for all cases."""
        return cls(tuple((rule.name, rule.asks) for rule in policy.rules))

    def lacking(self, case: Case, *, decided_by: str) -> frozenset[Fact]:
        """Return what a case does not hold and a rule asked, up to the one that decided: later ones were not asked."""
        asked: frozenset[Fact] = frozenset()
        if not case.lacking:
            return asked
        for name, facts in self.asked:
            asked |= facts
            if name == decided_by:
                break
        return asked & case.lacking
