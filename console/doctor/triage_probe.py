"""The probe of the triage policy: which one decides, whether a file of the settings is passed over, what is unknown."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy.orm import Session

from console.doctor.parts import ExaminedPart, PartHealth
from console.installation import Installation
from console.triage.policies import doubts_of
from storage.triage import policies
from storage.triage.policies import PoliciesInForce
from storage.triage.policy import Policy
from storage.triage.policy_file import load_policy

_SUBJECT = "triage"
_SHORT = 12
_MOST_DOUBTS = 3


def probe_triage(installation: Installation) -> Iterator[ExaminedPart]:
    """Name the policy that decides and those on trial, and say what keeps another one, or a rule, from doing so."""
    file = installation.settings.worker.policy
    configured = load_policy(file)
    with installation.read() as session:
        found = policies.in_force(session, configured)
        yield ExaminedPart(_SUBJECT, PartHealth.FINE, _in_force(found))
        if file is not None and found.live.sha256 != configured.sha256:
            yield ExaminedPart(_SUBJECT, PartHealth.REMARK, _passed_over(found.live, file=str(file)))
        yield from _doubtful(session, found.live, installation)


def _in_force(found: PoliciesInForce) -> str:
    tried = f", on trial {', '.join(map(_called, found.shadows))}" if found.shadows else ""
    return f"policy {_called(found.live)} decides{tried}"


def _passed_over(live: Policy, *, file: str) -> str:
    return (
        f"{file} of worker.policy is passed over, for policy {_called(live)} was promoted: take it out of the "
        f"settings, or `oncue triage promote {file}`, or `oncue triage retire {live.sha256[:_SHORT]}`"
    )


def _doubtful(session: Session, live: Policy, installation: Installation) -> Iterator[ExaminedPart]:
    """Say which rules of the policy that decides name what nothing here says any more: they never hold."""
    found = doubts_of(session, live, installation)
    for doubt in found[:_MOST_DOUBTS]:
        yield ExaminedPart(_SUBJECT, PartHealth.REMARK, f"policy {_called(live)}, {doubt}")
    if len(found) > _MOST_DOUBTS:
        yield ExaminedPart(
            _SUBJECT,
            PartHealth.REMARK,
            f"{len(found) - _MOST_DOUBTS} more words that nothing here says: `oncue triage show` and `check`",
        )


def _called(policy: Policy) -> str:
    return f"{policy.name} ({policy.sha256[:_SHORT]})"
