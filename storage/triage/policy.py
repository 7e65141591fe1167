"""The triage policy: ordered rules that turn what an analyser found into a reading priority."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field

from storage.domain import Priority, TriageDecision
from storage.triage.case import Case, Fact
from storage.triage.conditions import Conditions

NAME_LENGTH = 64


def on_one_line(name: str) -> str:
    """Return a name as it is; ValueError where a reader would see nothing of it, or not all.

    Names go to terminals, logs and receivers, and into databases that hold no NUL.
    """
    if not name.strip() or not name.isprintable():
        raise ValueError("a name stands on one line, without characters that cannot be seen")
    return name


OneLine = Annotated[str, Field(min_length=1, max_length=NAME_LENGTH), AfterValidator(on_one_line)]


class Rule(Conditions):
    """One rule: what it asks, and the priority of what it holds for."""

    name: OneLine
    priority: Priority


@dataclass(frozen=True, slots=True)
class Policy:
    """Rules in the order in which they are tried, the default, and the text that they came from with its digest."""

    name: str
    rules: tuple[Rule, ...]
    default_name: str
    default_priority: Priority
    time_zone: ZoneInfo
    content: str
    sha256: str

    def decide(self, case: Case) -> TriageDecision:
        """Return the priority by the first rule that holds, with everything that was looked at."""
        moment = case.circumstances.decided_at
        local = moment.astimezone(self.time_zone) if moment else None
        for rule in self.rules:
            if rule.hold(case, local):
                return self._decision(rule.priority, rule.name, case)
        return self._decision(self.default_priority, self.default_name, case)

    @property
    def asks(self) -> frozenset[Fact]:
        """What its rules need that inputs of earlier versions do not hold."""
        return frozenset[Fact]().union(*(rule.asks for rule in self.rules))

    def misses(self, case: Case) -> frozenset[Fact]:
        """Return what its rules ask for and the inputs of a case do not hold: there it may have decided otherwise."""
        return self.asks & case.lacking

    def _decision(self, priority: Priority, rule: str, case: Case) -> TriageDecision:
        return TriageDecision(priority, rule, self.sha256, case.inputs(), self.name)


def hidden_rules(rules: tuple[Rule, ...]) -> Iterator[tuple[int, Rule]]:
    """Yield the place of each rule that never decides, with the earlier one that always comes first."""
    for place, rule in enumerate(rules):
        earlier = next((other for other in rules[:place] if other.cover(rule)), None)
        if earlier is not None:
            yield place, earlier
