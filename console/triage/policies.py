"""Which policy a command means, and what stands in the way of one that is to decide."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy.orm import Session

from console.installation import Installation
from console.routes.routes_file import read_routes
from storage.errors import PolicyInvalid, RecordMissing
from storage.triage import policies
from storage.triage.doubts import Doubt, doubts, vocabulary
from storage.triage.policies import RecordedPolicy
from storage.triage.policy import NAME_LENGTH, Policy
from storage.triage.policy_file import load_policy, parse_policy


def chosen_policy(session: Session, text: str, *, name: str | None = None) -> Policy:
    """Return the policy that somebody names: a file where the text ends in .toml or holds a slash, else one on record.

    A file of another ending is meant where none on record has the name. ``name`` is what it is called from now on.
    RecordMissing, PolicyInvalid.
    """
    path = Path(text)
    if text.endswith(".toml") or os.sep in text:
        return policy_of_file(path, name=name)
    try:
        recorded = policies.find(session, text)
    except RecordMissing:
        if path.is_file():
            return policy_of_file(path, name=name)
        raise
    return parse_policy(
        recorded.content.encode(), name=f"policy {recorded.name}", called=checked_name(name or recorded.name)
    )


def policy_of_file(path: Path, *, name: str | None = None) -> Policy:
    """Read a policy of a file, called as its file says or by another name; PolicyInvalid."""
    policy = load_policy(path)
    return policy if name is None else parse_policy(policy.content.encode(), name=path.name, called=checked_name(name))


def checked_name(name: str) -> str:
    """Return the name of a policy without space around it; PolicyInvalid where it cannot be one."""
    plain = name.strip()
    if not plain or len(plain) > NAME_LENGTH or not plain.isprintable():
        raise PolicyInvalid(f"the name of a policy has 1 to {NAME_LENGTH} printable characters")
    return plain


def doubts_of(session: Session, policy: Policy, installation: Installation) -> tuple[Doubt, ...]:
    """Return what a policy names that nothing in this installation says."""
    routes = [route.name for route in read_routes(installation).routes.routes]
    return doubts(policy, vocabulary(session, routes=routes))


def require_undoubted(session: Session, policy: Policy, installation: Installation) -> Sequence[Doubt]:
    """Return the warnings about a policy; PolicyInvalid where it names what nothing here says."""
    found = doubts_of(session, policy, installation)
    refused = next((doubt for doubt in found if not doubt.only_warns), None)
    if refused is not None:
        raise PolicyInvalid(f"policy {policy.name}: {refused}")
    return found


def shown_policy(session: Session, text: str | None, installation: Installation) -> RecordedPolicy:
    """Return a policy on record, by default the one that decides; RecordMissing."""
    if text is not None:
        return policies.find(session, text)
    live = policies.in_force(session, load_policy(installation.settings.worker.policy)).live
    try:
        return policies.find(session, live.sha256)
    except RecordMissing:
        raise RecordMissing(
            f"policy {live.name} of the settings has not decided yet: it is put on record when a worker starts"
        ) from None
