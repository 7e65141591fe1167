"""What a rule of a triage policy asks, condition by condition: whether it holds, and what it can never hold with.

What is not known meets no condition: a rule that asks for a setting does not hold for a study without one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Generic, Protocol, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from storage.care_settings import CareSetting
from storage.domain import Lane, Presence
from storage.triage.case import Case, CaseFinding, Fact
from storage.triage.time_spans import TimeSpan, Weekday, minute_of_week, minutes_of_week

Item = TypeVar("Item")
Seen = TypeVar("Seen", Case, CaseFinding)
Seen_contra = TypeVar("Seen_contra", contravariant=True)


def _listed(value: object) -> object:
    return value if isinstance(value, list | tuple) else (value,)


Several = Annotated[tuple[Item, ...], BeforeValidator(_listed), Field(min_length=1)]
Name = Annotated[str, Field(min_length=1, max_length=64)]
Share = Annotated[float, Field(ge=0, le=1, strict=True)]
Size = Annotated[float, Field(ge=0, allow_inf_nan=False, strict=True)]
Change = Annotated[float, Field(allow_inf_nan=False, strict=True)]
Percent = Annotated[float, Field(ge=-100, allow_inf_nan=False, strict=True)]


class Conditions(BaseModel):
    """The conditions of one rule; what it does not name, it does not look at.

    Where several values are given for one key, any of them will do. What is said of a finding must be true of one and
    the same finding.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    presence: Several[Presence] | None = None
    concept: Several[Name] | None = None
    label: Several[Name] | None = None
    label_in_set: Several[Name] | None = None
    only_label: Several[Name] | None = None
    minimum_confidence: Share | None = None
    maximum_confidence: Share | None = None
    minimum_volume_ml: Size | None = None
    maximum_volume_ml: Size | None = None
    minimum_diameter_mm: Size | None = None
    maximum_diameter_mm: Size | None = None
    route: Several[Name] | None = None
    lane: Several[Lane] | None = None
    setting: Several[CareSetting] | None = None
    minimum_case_score: Share | None = None
    maximum_case_score: Share | None = None
    minimum_out_of_distribution: Size | None = None
    maximum_out_of_distribution: Size | None = None
    minimum_growth_percent: Percent | None = None
    maximum_growth_percent: Percent | None = None
    minimum_growth_ml: Change | None = None
    maximum_growth_ml: Change | None = None
    between: str | None = None
    weekdays: Several[Weekday] | None = None

    @field_validator("between")
    @classmethod
    def _is_span(cls, value: str | None) -> str | None:
        if value is not None:
            TimeSpan.of(value)
        return value

    @property
    def asks(self) -> frozenset[Fact]:
        """What it needs that inputs of earlier versions do not hold."""
        facts = {kind.fact for kind in _all() if kind.fact is not None and kind.is_asked(self)}
        schemes = {Fact.CODE_SCHEME} if any(":" in concept for concept in self.concept or ()) else set()
        return frozenset(facts | schemes | ({Fact.TIME} if self.asks_for_time else set()))

    @property
    def asks_for_time(self) -> bool:
        """Whether it holds at some times alone."""
        return self.between is not None or self.weekdays is not None

    @property
    def asks_for_finding(self) -> bool:
        """Whether a finding must be there that it holds for."""
        return any(kind.is_asked(self) for kind in FINDING_CONDITIONS)

    @property
    def minutes(self) -> frozenset[int]:
        """The minutes of the week in which it may hold."""
        return minutes_of_week(TimeSpan.of(self.between) if self.between else None, self.weekdays)

    def hold(self, case: Case, local: datetime | None) -> bool:
        """Say whether all of them hold: for the case at a local time, and for at least one finding where they ask."""
        if self.asks_for_time and (local is None or minute_of_week(local) not in self.minutes):
            return False
        if not all(kind.holds(self, case) for kind in CASE_CONDITIONS):
            return False
        return not self.asks_for_finding or any(
            all(kind.holds(self, finding) for kind in FINDING_CONDITIONS) for finding in case.findings
        )

    def cover(self, other: Conditions) -> bool:
        """Say whether they hold wherever the conditions of another rule do."""
        if self.asks_for_finding and not other.asks_for_finding:
            return False
        if not all(kind.covers(self, other) for kind in _all()):
            return False
        return not self.asks_for_time or (other.asks_for_time and other.minutes <= self.minutes)

    def contradictions(self) -> Iterator[tuple[str, str]]:
        """Yield the keys that can never be met, each with the reason."""
        for kind in _all():
            yield from kind.contradictions(self)
        yield from _of_label_sets(self)
        yield from _of_presence(self)


class Asked(Protocol):
    """One thing that rules may ask, whatever they ask it of."""

    @property
    def fact(self) -> Fact | None:
        """What it needs of the inputs that those of earlier versions do not hold."""
        ...

    def is_asked(self, asked: Conditions) -> bool:
        """Say whether a rule asks it."""
        ...

    def covers(self, wide: Conditions, narrow: Conditions) -> bool:
        """Say whether what one rule asks holds wherever that of another does."""
        ...

    def contradictions(self, asked: Conditions) -> Iterator[tuple[str, str]]:
        """Yield its keys where they contradict each other."""
        ...


class Condition(Asked, Protocol[Seen_contra]):
    """One thing that rules may ask of a case or of a finding."""

    def holds(self, asked: Conditions, seen: Seen_contra) -> bool:
        """Say whether it holds, or is not asked."""
        ...


@dataclass(frozen=True, slots=True)
class Range(Generic[Seen]):
    """A number between ``minimum_NAME`` and ``maximum_NAME``, both of them in it."""

    name: str
    read: Callable[[Seen], float | None]
    fact: Fact | None = None

    def bounds(self, asked: Conditions) -> tuple[float | None, float | None]:
        """Return the least and the greatest value."""
        return getattr(asked, f"minimum_{self.name}"), getattr(asked, f"maximum_{self.name}")

    def is_asked(self, asked: Conditions) -> bool:
        """Say whether a rule asks it."""
        return self.bounds(asked) != (None, None)

    def holds(self, asked: Conditions, seen: Seen) -> bool:
        """Say whether the number lies in the range; one that is not known lies in none."""
        least, most = self.bounds(asked)
        if least is None and most is None:
            return True
        value = self.read(seen)
        return value is not None and (least is None or value >= least) and (most is None or value <= most)

    def covers(self, wide: Conditions, narrow: Conditions) -> bool:
        """Say whether one range holds the other."""
        if not self.is_asked(wide):
            return True
        (least, most), (inner_least, inner_most) = self.bounds(wide), self.bounds(narrow)
        return (least is None or (inner_least is not None and inner_least >= least)) and (
            most is None or (inner_most is not None and inner_most <= most)
        )

    def contradictions(self, asked: Conditions) -> Iterator[tuple[str, str]]:
        """Yield the lower bound where it lies above the upper one."""
        least, most = self.bounds(asked)
        if least is not None and most is not None and least > most:
            yield f"minimum_{self.name}", f"{least:g} is more than maximum_{self.name} {most:g}"


@dataclass(frozen=True, slots=True)
class Choice(Generic[Seen]):
    """One of the values of a key, of those that a case or finding has; ``implied_by`` is a key that asks for more."""

    key: str
    read: Callable[[Seen], frozenset[str]]
    fact: Fact | None = None
    implied_by: str = ""

    def values(self, asked: Conditions) -> frozenset[str]:
        """Return the values that will do, none where it is not asked."""
        return frozenset(getattr(asked, self.key) or ())

    def is_asked(self, asked: Conditions) -> bool:
        """Say whether a rule asks it."""
        return getattr(asked, self.key) is not None

    def holds(self, asked: Conditions, seen: Seen) -> bool:
        """Say whether one of the values is there."""
        return not self.is_asked(asked) or not self.values(asked).isdisjoint(self.read(seen))

    def covers(self, wide: Conditions, narrow: Conditions) -> bool:
        """Say whether every value that will do for one rule will do for the other."""
        if not self.is_asked(wide):
            return True
        will_do = self.values(wide)
        asked = (getattr(narrow, key) for key in (self.key, self.implied_by) if key)
        return any(values and all(self._is_among(value, will_do) for value in values) for values in asked)

    def _is_among(self, value: str, will_do: frozenset[str]) -> bool:
        """Say whether a value is one that will do; a code with its scheme also is where the code alone will do."""
        return value in will_do or (self.key == "concept" and value.rpartition(":")[2] in will_do)

    def contradictions(self, asked: Conditions) -> Iterator[tuple[str, str]]:
        """Yield nothing: values do not contradict each other, any of them will do."""
        del asked
        yield from ()


def _one(value: str | None) -> frozenset[str]:
    return frozenset(() if value is None else (value,))


def _only(finding: CaseFinding) -> frozenset[str]:
    return frozenset(finding.label_set if len(finding.label_set) == 1 else ())


FINDING_CONDITIONS: tuple[Condition[CaseFinding], ...] = (
    Choice("presence", lambda finding: frozenset({finding.presence.value})),
    Choice("concept", lambda finding: frozenset({finding.concept, f"{finding.scheme}:{finding.concept}"})),
    Choice("label", lambda finding: _one(finding.label)),
    Choice("label_in_set", lambda finding: frozenset(finding.label_set), Fact.LABEL_SET, implied_by="only_label"),
    Choice("only_label", _only, Fact.LABEL_SET),
    Range("confidence", lambda finding: finding.confidence),
    Range("volume_ml", lambda finding: finding.volume_ml),
    Range("diameter_mm", lambda finding: finding.longest_diameter_mm, Fact.DIAMETER),
)
"""What must be true of one and the same finding."""

CASE_CONDITIONS: tuple[Condition[Case], ...] = (
    Choice("route", lambda case: _one(case.circumstances.route), Fact.ROUTE),
    Choice("lane", lambda case: frozenset({case.circumstances.lane.value})),
    Choice("setting", lambda case: _one(case.circumstances.setting), Fact.SETTING),
    Range("case_score", lambda case: case.case_score),
    Range("out_of_distribution", lambda case: case.out_of_distribution),
    Range("growth_percent", lambda case: case.growth_percent, Fact.GROWTH),
    Range("growth_ml", lambda case: case.growth_ml, Fact.GROWTH),
)
"""What must be true of the case as a whole."""


def _all() -> tuple[Asked, ...]:
    return (*FINDING_CONDITIONS, *CASE_CONDITIONS)


def _of_label_sets(asked: Conditions) -> Iterator[tuple[str, str]]:
    if asked.only_label is None:
        return
    only = set(asked.only_label)
    if asked.label_in_set is not None and only.isdisjoint(asked.label_in_set):
        yield (
            "only_label",
            f"a set that holds {_words(asked.only_label)} alone never holds {_words(asked.label_in_set)}",
        )
    if asked.label is not None and only.isdisjoint(asked.label):
        yield "only_label", f"the label of such a finding is never {_words(asked.label)}"


_OF_LESIONS = ("label", "label_in_set", "only_label")
_SIZES = ("minimum_volume_ml", "minimum_diameter_mm", "minimum_growth_percent", "minimum_growth_ml")


def _of_presence(asked: Conditions) -> Iterator[tuple[str, str]]:
    """Yield what a finding never has that says that nothing is there, or that labels a whole image."""
    if asked.presence == (Presence.ABSENT,):
        for key in _OF_LESIONS:
            if getattr(asked, key) is not None:
                yield key, "a finding that is absent has no label"
        for key in _SIZES:
            if (getattr(asked, key) or 0) > 0:
                yield key, "a finding that is absent has no size"
    if asked.presence == (Presence.ASSESSED,):
        for key in (f"{end}_{name}" for name in ("volume_ml", "diameter_mm") for end in ("minimum", "maximum")):
            if getattr(asked, key) is not None:
                yield key, "the label of a whole image has no size"


def _words(values: tuple[str, ...]) -> str:
    return " or ".join(values)
