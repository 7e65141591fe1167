"""The probe of the peers: who may send, and who was turned away lately, with what lets it in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta

from console.doctor.parts import ExaminedPart, PartHealth
from console.doctor.process_probes import current_endpoints
from console.installation import Installation
from console.peers.remedies import described, remedy
from console.peers.trial import LOOPBACK
from storage import peers, refused_peers
from storage.database import utc_now
from storage.peers import PeerEntry

_RECENTLY = timedelta(days=1)
_MOST_NAMED = 10
_ON_PURPOSE = "peer_blocked"


def probe_peers(installation: Installation) -> Iterator[ExaminedPart]:
    """Count the entries, and name the callers that were turned away within a day."""
    gateway, state = installation.settings.gateway, installation.state
    with installation.read() as session:
        entries = peers.entries(session)
        refused = refused_peers.listed(session, since=utc_now() - _RECENTLY)
    yield _entries(entries, installation)
    strangers = [one for one in refused if one.code != _ON_PURPOSE]
    for one in strangers[:_MOST_NAMED]:
        advice = remedy(one, own_aet=gateway.aet, state=state)
        yield ExaminedPart("turned away", PartHealth.REMARK, f"{described(one)}; {advice}")
    if len(strangers) > _MOST_NAMED:
        more = len(strangers) - _MOST_NAMED
        yield ExaminedPart("turned away", PartHealth.REMARK, f"{more} more: oncue peers list --refused --state {state}")


def _entries(entries: Sequence[PeerEntry], installation: Installation) -> ExaminedPart:
    """Count the entries; that there is none is fine where nobody beyond this machine could reach the listener."""
    allowed = sum(entry.allowed for entry in entries)
    if allowed:
        return ExaminedPart("peers", PartHealth.FINE, f"{allowed} may send, {len(entries) - allowed} kept out")
    beyond = "senders on this machine alone" if installation.settings.gateway.admit_loopback else "nobody"
    further = installation.settings.gateway.listeners
    hosts = dict.fromkeys((current_endpoints(installation).host, *(listener.host for listener in further)))
    if LOOPBACK.issuperset(hosts):
        where = " and ".join(hosts)
        return ExaminedPart("peers", PartHealth.FINE, f"none: {beyond} may send, and the listener is on {where} alone")
    add = f"oncue peers add NAME --aet AET --state {installation.state}"
    return ExaminedPart("peers", PartHealth.REMARK, f"none: {beyond} may send; {add}")
