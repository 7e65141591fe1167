"""What comes out of deciding history again: who moved, by which rule, alarms by day, and how long studies wait."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, timedelta

from storage.domain import Presence, Priority
from storage.triage import queue_model
from storage.triage.case import CaseFinding, Fact
from storage.triage.kept_decisions import KeptDecision, Verdict
from storage.triage.queue_model import Reading, WaitingTimes
from storage.triage.study_outcomes import StudyOutcomes


@dataclass(frozen=True, slots=True)
class Positives:
    """What a positive study is: a lesion of at least this confidence, or one of these labels of a whole image.

    That is what the model said, and nobody's diagnosis.
    """

    minimum_confidence: float = 0.5
    labels: frozenset[str] = frozenset()

    def holds(self, findings: tuple[CaseFinding, ...]) -> bool:
        """Say whether one of the findings is such a one."""
        return any(
            finding.label in self.labels
            or (finding.presence is Presence.PRESENT and finding.confidence >= self.minimum_confidence)
            for finding in findings
        )


@dataclass(frozen=True, slots=True)
class Redecided:
    """One analysis with both verdicts; ``lacks`` names what the new policy asked and the inputs do not say."""

    kept: KeptDecision
    findings: tuple[CaseFinding, ...]
    before: Verdict
    after: Verdict
    lacks: frozenset[Fact] = frozenset()


@dataclass(frozen=True, slots=True)
class RuleCount:
    """How many analyses one rule decided, and how many of them the other side put lower or higher.

    ``up`` counts those that are more urgent by the new decisions than by the old ones, ``down`` those less so.
    """

    rule: str
    priority: Priority
    analyses: int
    up: int
    down: int


@dataclass(frozen=True, slots=True)
class DayCount:
    """How many studies were STAT or HIGH on one day (UTC), by the old decisions and by the new ones."""

    day: date
    before: int
    after: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """How long studies wait in one order of reading: those with a finding, and the others."""

    positive: WaitingTimes
    other: WaitingTimes


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """History decided again.

    ``moved`` counts analyses by (old priority, new priority). ``unreadable`` ones have inputs that are none, and count
    nowhere else. ``lacking`` counts analyses by what the new policy asked of them and their inputs do not say.
    ``load`` is how busy the readers of the model are: above 1 the queue grows without end.
    """

    analyses: int
    studies: int
    unreadable: int
    moved: Mapping[tuple[Priority, Priority], int]
    rules_before: tuple[RuleCount, ...]
    rules_after: tuple[RuleCount, ...]
    days: tuple[DayCount, ...]
    lacking: Mapping[Fact, int]
    reading: Reading
    load: float | None
    waiting_before: Waiting
    waiting_after: Waiting
    waiting_first_come: Waiting

    @property
    def up(self) -> int:
        """Analyses that the new decisions make more urgent."""
        return sum(count for (old, new), count in self.moved.items() if new.rank < old.rank)

    @property
    def down(self) -> int:
        """Analyses that the new decisions make less urgent."""
        return sum(count for (old, new), count in self.moved.items() if new.rank > old.rank)

    @property
    def unchanged(self) -> int:
        """Analyses of the same priority by both."""
        return self.analyses - self.up - self.down


@dataclass(slots=True)
class _Rules:
    """Analyses by the verdict of one side, and in which direction they moved."""

    counts: Counter[Verdict] = field(default_factory=Counter)
    up: Counter[Verdict] = field(default_factory=Counter)
    down: Counter[Verdict] = field(default_factory=Counter)

    def add(self, verdict: Verdict, *, steps: int) -> None:
        self.counts[verdict] += 1
        if steps:
            (self.up if steps > 0 else self.down)[verdict] += 1

    def listed(self) -> tuple[RuleCount, ...]:
        """Return the rules that decided something, the most urgent first, then by how often."""
        ordered = sorted(self.counts, key=lambda one: (one.priority.rank, -self.counts[one], one.rule))
        return tuple(
            RuleCount(one.rule, one.priority, self.counts[one], self.up[one], self.down[one]) for one in ordered
        )


@dataclass(slots=True)
class Tally:
    """Adds up decisions one by one; holds numbers for each study, and nothing of their inputs."""

    positives: Positives
    reading: Reading
    unreadable: int = 0
    moved: Counter[tuple[Priority, Priority]] = field(default_factory=Counter)
    lacking: Counter[Fact] = field(default_factory=Counter)
    _before: _Rules = field(default_factory=_Rules)
    _after: _Rules = field(default_factory=_Rules)
    _studies: StudyOutcomes = field(default_factory=StudyOutcomes)
    _days: set[date] = field(default_factory=set)

    def add(self, one: Redecided) -> None:
        """Count one analysis."""
        old, new = one.before, one.after
        self.moved[old.priority, new.priority] += 1
        self.lacking.update(one.lacks)
        steps = old.priority.rank - new.priority.rank
        self._before.add(old, steps=steps)
        self._after.add(new, steps=steps)
        self._days.add(one.kept.analysed_at.astimezone(UTC).date())
        study = self._studies.study(one.kept)
        if one.kept.counts and self.positives.holds(one.findings):
            self._studies.positive[study] = True
        self._studies.before.note(study, one.kept, old, says_something=bool(one.findings))
        self._studies.after.note(study, one.kept, new, says_something=bool(one.findings))

    def result(self) -> ReplayResult:
        """Return what all of them come to."""
        studies = self._studies
        return ReplayResult(
            analyses=self.moved.total(),
            studies=len(studies.arrived),
            unreadable=self.unreadable,
            moved=dict(self.moved),
            rules_before=self._before.listed(),
            rules_after=self._after.listed(),
            days=tuple(self._alarms()),
            lacking=dict(sorted(self.lacking.items())),
            reading=self.reading,
            load=queue_model.load(studies.arrived, self.reading),
            waiting_before=self._waiting(studies.before.told()),
            waiting_after=self._waiting(studies.after.told()),
            waiting_first_come=self._waiting(None),
        )

    def _waiting(self, told: queue_model.Told | None) -> Waiting:
        seconds = queue_model.waits(self._studies.arrived, told, self.reading)
        groups: tuple[list[float], list[float]] = [], []
        for wait, is_positive in zip(seconds, self._studies.positive, strict=True):
            groups[bool(is_positive)].append(wait)
        other, positive = map(queue_model.summary, groups)
        return Waiting(positive, other)

    def _alarms(self) -> Iterator[DayCount]:
        """Yield every day from the first to the last with an analysis; those between without one too."""
        if not self._days:
            return
        day, last = min(self._days), max(self._days)
        while day <= last:
            yield DayCount(day, self._studies.before.alarms[day], self._studies.after.alarms[day])
            day += timedelta(days=1)
