"""The JSON objects of `oncue triage list`, `show`, `check`, `shadow`, `promote` and `retire`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from console.record_schema import IsoTime, RecordSchema
from storage.domain import Priority
from storage.triage import policies
from storage.triage.doubts import Doubt
from storage.triage.policies import RecordedPolicy
from storage.triage.policy import Policy
from storage.triage.tables import PolicyState


class PolicyForm(RecordSchema):
    """One policy on record, with who changed its state last, when and why."""

    name: str
    state: PolicyState
    sha256: str
    reason: str
    changed_by: str
    added_at: IsoTime
    changed_at: IsoTime


class RuleForm(RecordSchema):
    """One rule: its priority, and what it asks as its file says it."""

    name: str
    priority: Priority
    conditions: dict[str, Any]


class ShownPolicyForm(PolicyForm):
    """One policy with its rules in their order, and the text of its file."""

    time_zone: str
    rules: list[RuleForm]
    default: RuleForm
    content: str


class DoubtForm(RecordSchema):
    """Something that a policy names and nothing here says."""

    line: int
    rule: str
    key: str
    message: str


class CheckedPolicyForm(RecordSchema):
    """What a check of a file found; ``refused`` keeps it from being tried or promoted."""

    name: str
    sha256: str
    rules: int
    refused: list[DoubtForm]
    warnings: list[DoubtForm]


def shown_form(recorded: RecordedPolicy) -> ShownPolicyForm:
    """Return a policy on record with its rules; PolicyInvalid where this version cannot read it."""
    policy = policies.read(recorded)
    return ShownPolicyForm.model_validate(
        {
            **PolicyForm.model_validate(recorded).model_dump(),
            "added_at": recorded.added_at,
            "changed_at": recorded.changed_at,
            "time_zone": policy.time_zone.key,
            "rules": [_rule_form(policy, index) for index in range(len(policy.rules))],
            "default": {"name": policy.default_name, "priority": policy.default_priority, "conditions": {}},
            "content": policy.content,
        }
    )


def checked_form(policy: Policy, found: Sequence[Doubt]) -> CheckedPolicyForm:
    """Return what a check found, what is refused apart from what only warns."""
    return CheckedPolicyForm(
        name=policy.name,
        sha256=policy.sha256,
        rules=len(policy.rules),
        refused=[DoubtForm.model_validate(doubt) for doubt in found if not doubt.only_warns],
        warnings=[DoubtForm.model_validate(doubt) for doubt in found if doubt.only_warns],
    )


def _rule_form(policy: Policy, index: int) -> dict[str, Any]:
    rule = policy.rules[index]
    asked = rule.model_dump(mode="json", exclude={"name", "priority"}, exclude_none=True)
    return {"name": rule.name, "priority": rule.priority, "conditions": asked}
