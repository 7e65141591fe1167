"""The two sides of a replay: policies of files, the one in force, those on trial, or what was decided then."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from storage.errors import RecordMissing
from storage.triage.policy import Policy, load_policy, parse_policy
from storage.triage.tables import PolicyState, ShadowDecisionRow, TriagePolicyRow

ON_RECORD = "as decided"
LIVE = "live"
_SHORTEST_DIGEST = 6


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a replay by name; ``policy`` is None where nothing is decided anew, ``sha256`` where none is one."""

    name: str
    policy: Policy | None
    sha256: str | None

    @property
    def rules(self) -> tuple[str, ...]:
        """The names of the rules in the order of the policy; none where its text is not at hand."""
        return tuple(rule.name for rule in self.policy.rules) if self.policy else ()


def of_file(path: Path) -> Side:
    """Read the policy of a file; PolicyInvalid."""
    policy = load_policy(path)
    return Side(path.name, policy, policy.sha256)


def in_force(session: Session, *, settings_file: Path | None) -> Side:
    """Read the policy that decides now: the live one, or where none is promoted, the file of the settings."""
    row = session.scalar(select(TriagePolicyRow).where(TriagePolicyRow.state == PolicyState.LIVE.value))
    if row is None:
        policy = load_policy(settings_file)
        return Side(settings_file.name if settings_file else "the policy that ships", policy, policy.sha256)
    return Side(row.name, parse_policy(row.content.encode(), name=row.name), row.sha256)


def on_record() -> Side:
    """Return the side that repeats what was decided then, by whatever policy was live."""
    return Side(ON_RECORD, None, None)


def on_trial(session: Session, named: str | None) -> Side:
    """Return the policy of a name or of a digest's beginning that was tried; RecordMissing lists those that were.

    Without a name it is the one on trial now, if there is one alone.
    """
    tried = select(ShadowDecisionRow.policy_sha256).distinct()
    known = select(TriagePolicyRow).order_by(TriagePolicyRow.changed_at.desc())
    shadow = TriagePolicyRow.state == PolicyState.SHADOW.value
    rows = session.scalars(known.where(or_(shadow, TriagePolicyRow.sha256.in_(tried)))).all()
    if named is None:
        found = [row for row in rows if row.state == PolicyState.SHADOW.value]
    else:
        found = [row for row in rows if _is_called(row, named)]
    if len(found) != 1:
        raise RecordMissing(_which(rows, named, found=len(found)))
    return Side(found[0].name, None, found[0].sha256)


def _is_called(row: TriagePolicyRow, named: str) -> bool:
    return named == row.name or (len(named) >= _SHORTEST_DIGEST and row.sha256.startswith(named.lower()))


def _which(rows: object, named: str | None, *, found: int) -> str:
    listed = ", ".join(f"{row.name} ({row.sha256[:12]}, {row.state})" for row in rows)  # type: ignore[attr-defined]
    if not listed:
        return "no policy is or was on trial; `oncue triage shadow FILE` begins one"
    wanted = "no policy is on trial now" if named is None else f"no policy on trial is called {named!r}"
    if found:
        wanted = "several policies are on trial" if named is None else f"several are called {named!r}; give the digest"
    return f"{wanted}; on record: {listed}"
