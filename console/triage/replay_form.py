"""What `oncue triage replay` and `compare` write for other programs."""

from __future__ import annotations

from datetime import date

from pydantic import AliasPath, Field, field_serializer

from console.record_schema import IsoTime, RecordSchema
from console.triage.replayed_policies import Side, told_apart
from storage.domain import Priority
from storage.triage.kept_decisions import Span
from storage.triage.replay_tally import ReplayResult

_TAKEN = (
    "analyses", "studies", "unreadable", "up", "down", "unchanged", "rules_before", "rules_after", "days", "lacking",
    "waiting_before", "waiting_after", "waiting_first_come",
)  # fmt: skip # reads by its lines
"""What is written as the result has it."""


class NamedPolicyForm(RecordSchema):
    """One side of a replay; ``sha256`` is null where it is what was decided then, by whatever policy was live."""

    name: str
    sha256: str | None


class MoveForm(RecordSchema):
    """How many analyses went from one priority to another, or kept it."""

    before: Priority
    after: Priority
    analyses: int


class RuleCountForm(RecordSchema):
    """How many analyses a rule decided, and how many of them are more (``up``) or less urgent by the new policy."""

    rule: str
    priority: Priority
    analyses: int
    up: int
    down: int


class DayForm(RecordSchema):
    """How many studies were STAT or HIGH on one day (UTC), by either side."""

    day: date
    before: int
    after: int

    @field_serializer("day")
    def _as_text(self, day: date) -> str:
        return day.isoformat()


class WaitingTimesForm(RecordSchema):
    """How long a group of studies waits in the model; minutes are null where there is no such study."""

    studies: int
    median_minutes: float | None
    percentile_95_minutes: float | None


class WaitingForm(RecordSchema):
    """How long studies with a finding wait, and the others."""

    positive: WaitingTimesForm
    other: WaitingTimesForm


class ReadersForm(RecordSchema):
    """The readers of the model; ``load`` above 1: more comes than they can read, and the waits say nothing."""

    readers: int = Field(validation_alias=AliasPath("reading", "readers"))
    minutes_per_study: float = Field(validation_alias=AliasPath("reading", "minutes_per_study"))
    load: float | None


class TriageReplayForm(RecordSchema):
    """History decided again: what moved, by which rule, alarms by day, and how long studies would have waited.

    ``lacking`` counts analyses by what the new policy asked of them and their inputs do not say; ``unreadable`` ones
    keep no inputs that can be read, and count nowhere else.
    """

    since: IsoTime
    until: IsoTime | None
    before: NamedPolicyForm
    after: NamedPolicyForm
    analyses: int
    studies: int
    unreadable: int
    up: int
    down: int
    unchanged: int
    moved: list[MoveForm]
    rules_before: list[RuleCountForm]
    rules_after: list[RuleCountForm]
    never_held: list[str]
    days: list[DayForm]
    lacking: dict[str, int]
    model: ReadersForm
    waiting_before: WaitingForm
    waiting_after: WaitingForm
    waiting_first_come: WaitingForm


def form_of(span: Span, before: Side, after: Side, result: ReplayResult) -> TriageReplayForm:
    """Return what a replay of two sides came to, in words of the API."""
    held = {rule.rule for rule in result.rules_after}
    before, after = told_apart(before, after)
    return TriageReplayForm.model_validate(
        {
            "since": span.since,
            "until": span.until,
            "before": before,
            "after": after,
            "moved": [
                MoveForm(before=old, after=new, analyses=result.moved[old, new])
                for old in Priority
                for new in Priority
                if result.moved.get((old, new))
            ],
            "never_held": [name for name in after.rules if name not in held],
            "model": result,
            **{name: getattr(result, name) for name in _TAKEN},
        }
    )
