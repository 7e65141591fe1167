"""What a policy asks and the inputs of a decision do not say: a rule that asks it cannot hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from storage.triage.policy import Case, Policy, Rule

_UNKNOWN: Mapping[str, tuple[str, Callable[[Case], bool]]] = {
    "minimum_out_of_distribution": ("out_of_distribution", lambda case: case.out_of_distribution is None),
}
"""By the condition of a rule: what it asks, and whether a case does not say it."""


@dataclass(frozen=True, slots=True)
class Unknowns:
    """The conditions of a policy that a case may have no answer to, rule by rule in the order of the policy."""

    asked: tuple[tuple[str, tuple[str, ...]], ...]

    @classmethod
    def of(cls, policy: Policy) -> Unknowns:
        """Return what each rule of a policy asks."""
        return cls(tuple((rule.name, _conditions(rule)) for rule in policy.rules))

    def lacking(self, case: Case, *, decided_by: str) -> tuple[str, ...]:
        """Name what a case does not say and a rule asked, up to the one that decided: later ones were not asked."""
        lacks: list[str] = []
        for name, conditions in self.asked:
            for condition in conditions:
                what, is_unknown = _UNKNOWN[condition]
                if is_unknown(case) and what not in lacks:
                    lacks.append(what)
            if name == decided_by:
                break
        return tuple(lacks)


def _conditions(rule: Rule) -> tuple[str, ...]:
    """Return the conditions that a rule names and a case may not answer."""
    return tuple(condition for condition in _UNKNOWN if getattr(rule, condition) is not None)
