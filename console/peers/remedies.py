"""What to do about a caller that was turned away, by the code of its refusal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from storage.refused_peers import RefusedPeer

ADMISSIBLE = frozenset({"calling_aet_unknown", "called_aet_unknown", "network_not_allowed"})
"""Codes of callers that a new entry lets in."""

_REMEDIES: Mapping[str, str] = {
    "calling_aet_unknown": "let it in: {allow}",
    "called_aet_unknown": "have it call {own} instead of {called}, or let it in as it is: {allow}",
    "network_not_allowed": "its entry names another network; if this is the same peer: {allow}",
    "certificate_not_allowed": "its client certificate has not the name that its entry wants: compare both "
    "(oncue peers list), or correct the entry (oncue peers add NAME ... --replace)",
    "peer_blocked": "its entry keeps it out on purpose; to let it in again: oncue peers allow NAME "
    "(oncue peers list shows the name)",
    "quota_exceeded": "it has used up its quota of the hour: find out why it sends so much, or raise the quota "
    "(oncue peers add NAME ... --replace)",
    "too_many_associations": "it opens too many associations at once: set its own limit lower, or raise "
    "gateway.maximum_associations",
}


def remedy(refused: RefusedPeer, *, own_aet: str, state: Path) -> str:
    """Return what to do about one caller, with the command where one does it."""
    if not refused.calling_aet and refused.code == "network_not_allowed":
        return "gateway.allowed_networks keeps its address out: add its network there if it should send"
    allow = f"oncue peers allow {refused.number} --state {state}"
    return _REMEDIES.get(refused.code, "see docs/peers.md").format(allow=allow, own=own_aet, called=refused.called_aet)


def described(refused: RefusedPeer) -> str:
    """Return in one sentence who was turned away, how often, when last and why."""
    times = "once" if refused.count == 1 else f"{refused.count} times"
    who = f"{refused.calling_aet} at {refused.address}" if refused.calling_aet else refused.address
    return f"{who} was turned away {times}, last at {refused.last_at:%Y-%m-%d %H:%M:%S} UTC: [{refused.code}]"
