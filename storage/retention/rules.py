"""Rules of retention as settings: what of which studies is deleted, after how long, and under which conditions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import product
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from storage.domain import Holding, Priority
from storage.states import StudyState

NO_PRIORITY = "none"
UNTOUCHABLE = frozenset({StudyState.RECEIVING, StudyState.QUEUED, StudyState.RUNNING, StudyState.HELD})
"""States in which nothing is ever deleted: something of the study is still to come."""

_NEVER_ANALYSED = frozenset({StudyState.NOT_APPLICABLE, StudyState.SET_ASIDE})
_SETTLED = tuple(state for state in StudyState if state not in UNTOUCHABLE)
_EVERY_PRIORITY: tuple[Priority | Literal["none"], ...] = (*Priority, "none")


class Since(StrEnum):
    """What the age of a study is counted from; one that was never analysed counts from its last image."""

    LAST_IMAGE = "last_image"
    ANALYSED = "analysed"


class Delivered(StrEnum):
    """How far a study's results must have come.

    SETTLED: nothing of them is on its way. SENT: each valid result was sent, too, with a success status, to every
    destination that is to get it, one at least. COMMITTED: the destinations committed to keep them (PS3.4 J).
    """

    SETTLED = "settled"
    SENT = "sent"
    COMMITTED = "committed"


@dataclass(frozen=True, slots=True)
class Cell:
    """Studies in one state and of one rank: what the rules tell apart. Rank 4 has no priority."""

    state: StudyState
    rank: int


class RetentionRule(BaseModel):
    """One rule. ``states`` and ``priorities`` say which studies it is for, the rest what becomes of them, and when."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")
    delete: tuple[Holding, ...] = Field(min_length=1)
    states: tuple[StudyState, ...] = (StudyState.SUCCEEDED, StudyState.NOT_APPLICABLE)
    priorities: tuple[Priority | Literal["none"], ...] = _EVERY_PRIORITY
    older_than_days: float | None = Field(default=None, gt=0, le=36500)
    since: Since = Since.LAST_IMAGE
    delivered: Delivered = Delivered.SETTLED
    also_refused: bool = False
    when_disk_above_percent: float | None = Field(default=None, gt=0, lt=100)
    keep: bool = False

    def __str__(self) -> str:
        return f"{self.name} ({', '.join(self.delete)}: {self.says})"

    @property
    def says(self) -> str:
        """What becomes of what it is for, in words."""
        if self.keep:
            return "kept"
        since = "analysis" if self.since is Since.ANALYSED else "last image"
        parts = [f"{_span(self.older_than_days or 0)} after {since}"]
        if self.delivered is not Delivered.SETTLED:
            parts.append(f"once {self.delivered}")
        if self.also_refused:
            parts.append("refused or not")
        if self.when_disk_above_percent is not None:
            parts.append(f"while the disk is above {self.when_disk_above_percent:g} %")
        return ", ".join(parts)

    def cells(self) -> Iterator[Cell]:
        """Return the studies that it is for; a study that no route wants has no priority."""
        for state, priority in product(self.states, self.priorities):
            rank = len(Priority) if priority == NO_PRIORITY else Priority(priority).rank
            if state not in _NEVER_ANALYSED or rank == len(Priority) or state is StudyState.SET_ASIDE:
                yield Cell(state, rank)

    @model_validator(mode="after")
    def _does_not_contradict_itself(self) -> Self:
        problem = next(iter(self._contradictions()), None)
        if problem is not None:
            raise ValueError(f"rule {self.name}: {problem}")
        return self

    def _contradictions(self) -> Iterator[str]:
        untouchable = sorted(set(self.states) & UNTOUCHABLE)
        if untouchable:
            known = ", ".join(_SETTLED)
            yield f"nothing is ever deleted of a study that is {untouchable[0]}; states can be {known}"
        if not self.states or not self.priorities:
            yield "an empty list of states or priorities is for no study at all"
        elif not any(True for _ in self.cells()):
            yield 'a study that no route wants has no priority: add "none" to priorities, or another state'
        if self.keep and self._when():
            yield f"keep = true keeps for good, and {self._when()[0]} says when to delete: say one of them"
        if not self.keep and self.older_than_days is None:
            yield "say older_than_days, or keep = true"
        if self.since is Since.ANALYSED and set(self.states) <= _NEVER_ANALYSED:
            yield "studies in these states were never analysed: since = last_image"
        if self.delivered is Delivered.COMMITTED:
            yield "oncue does not ask for storage commitment, so nothing is ever committed: say sent"
        if self.delivered is Delivered.SENT and self.also_refused:
            yield "delivered = sent wants everything sent, and also_refused deletes what was refused: say one of them"

    def _when(self) -> list[str]:
        conditions = ("older_than_days", "since", "delivered", "also_refused", "when_disk_above_percent")
        return [name for name in conditions if name in self.model_fields_set]


class RetentionSettings(BaseModel):
    """What is deleted of studies, and when. The rules are tried in their order: the first that is for a study counts.

    The retention of the audit trail is ``audit.keep_months``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = Field(
        default=False, description="Have the gateway delete by the rules; without it `oncue retention run` does"
    )
    every_seconds: float = Field(default=3600.0, gt=0, description="How often the gateway looks for what is to go")
    files_per_round: int = Field(
        default=1000, ge=1, description="Files after which a round ends with the study that it is at"
    )
    rules: tuple[RetentionRule, ...] = Field(
        default=(), description="Rules of [retention](retention.md), each a table `[[retention.rules]]`"
    )

    @model_validator(mode="after")
    def _each_rule_counts(self) -> Self:
        names = [rule.name for rule in self.rules]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"retention.rules: two rules are called {twice}; events name their rule, so names differ")
        if self.enabled and not self.rules:
            raise ValueError("retention.enabled is set without any rule: there is nothing to delete by")
        for number, rule in enumerate(self.rules):
            before = self.rules[:number]
            lost = next((kind for kind in rule.delete if not governed(self.rules, rule, kind)), None)
            if lost is not None:
                takers = ", ".join(other.name for other in before if lost in other.delete)
                raise ValueError(
                    f"retention.rules: rule {rule.name} never counts for {lost}: {takers} before it takes"
                    " all its studies"
                )
        return self


def governing(rules: tuple[RetentionRule, ...], kind: Holding) -> Mapping[Cell, RetentionRule]:
    """Return which rule counts for which studies, for one kind of file: the first that is for them."""
    table: dict[Cell, RetentionRule] = {}
    for rule in rules:
        if kind in rule.delete:
            for cell in rule.cells():
                table.setdefault(cell, rule)
    return table


def governed(rules: tuple[RetentionRule, ...], rule: RetentionRule, kind: Holding) -> tuple[Cell, ...]:
    """Return the studies for which a rule counts, for one kind of file."""
    return tuple(cell for cell, first in governing(rules, kind).items() if first.name == rule.name)


def _span(days: float) -> str:
    """Return a span of time in the unit that reads best."""
    for unit, of_a_day in (("day", 1), ("hour", 24), ("minute", 1440)):
        if days * of_a_day >= 1:
            return _counted(days * of_a_day, unit)
    return _counted(days * 86_400, "second")


def _counted(number: float, unit: str) -> str:
    return f"{number:.4g} {unit}" + ("" if number == 1 else "s")
