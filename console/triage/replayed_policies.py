"""The two sides of a replay: policies of files, the one in force, those on trial, or what was decided then."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from sqlalchemy.orm import Session

from console.triage.policies import chosen_policy
from storage.errors import PolicyInvalid, RecordMissing
from storage.triage import policies
from storage.triage.policies import RecordedPolicy
from storage.triage.policy import Policy
from storage.triage.policy_file import load_policy
from storage.triage.tables import PolicyState

ON_RECORD = "as decided"
LIVE = "live"
_SHOWN_DIGITS = 12


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a replay by name; ``sha256`` is None where it is what was decided then, by whatever policy."""

    name: str
    sha256: str | None
    rules: tuple[str, ...] = ()
    """The names of its rules in their order; none where its text is not at hand."""

    @classmethod
    def of(cls, policy: Policy) -> Side:
        """Return the side of a policy that decides anew."""
        return cls(policy.name, policy.sha256, tuple(rule.name for rule in policy.rules))

    @classmethod
    def recorded(cls, recorded: RecordedPolicy) -> Side:
        """Return the side of a policy that was tried; its rules stay unknown where this version cannot read them."""
        try:
            return cls.of(policies.read(recorded))
        except PolicyInvalid:
            return cls(recorded.name, recorded.sha256)

    @classmethod
    def on_record(cls) -> Side:
        """Return the side that repeats what was decided then."""
        return cls(ON_RECORD, None)


def other_policy(session: Session, against: str | None, *, configured: Path | None) -> Policy | None:
    """Return the policy to compare with: None for what was decided then, the live one, one on record or of a file.

    ``configured`` is the file of the settings, which decides where none is promoted. RecordMissing, PolicyInvalid.
    """
    if against is None:
        return None
    if against == LIVE:
        return policies.in_force(session, load_policy(configured) if configured else None).live
    return chosen_policy(session, against)


def on_trial(session: Session, named: str | None) -> RecordedPolicy:
    """Return the policy of a name or digest, by default the one that is on trial now; RecordMissing."""
    if named is not None:
        return policies.find(session, named)
    tried = [one for one in policies.listed(session) if one.state is PolicyState.SHADOW]
    if not tried:
        raise RecordMissing("no policy is on trial; name one that was, or begin with `oncue triage shadow FILE`")
    if len(tried) > 1:
        names = ", ".join(one.name for one in tried)
        raise RecordMissing(f"several policies are on trial ({names}); name the one that is meant")
    return tried[0]


def told_apart(before: Side, after: Side) -> tuple[Side, Side]:
    """Return both sides; where they have one name, the digests are added to it."""
    if before.name != after.name:
        return before, after
    return _with_digest(before), _with_digest(after)


def _with_digest(side: Side) -> Side:
    return replace(side, name=f"{side.name} {side.sha256[:_SHOWN_DIGITS]}") if side.sha256 else side
