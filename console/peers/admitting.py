"""Entries for callers that were turned away: what they said becomes the entry, for the address that they came from."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_address, ip_network

from sqlalchemy.orm import Session

from console.installation import Installation
from console.peers.remedies import ADMISSIBLE, remedy
from dicom_gateway import peer_entries
from dicom_gateway.receiving.peer_matching import MatchingRules
from storage import peers, refused_peers
from storage.domain import Lane
from storage.errors import PeerInvalid, RecordMissing
from storage.peers import PeerEntry
from storage.refused_peers import RefusedPeer


@dataclass(frozen=True, slots=True)
class Wish:
    """How a caller that was turned away is to be let in; ``network`` None is the address that it came from."""

    name: str | None = None
    network: str | None = None
    lane: Lane = Lane.ROUTINE


def admit(session: Session, who: str, wish: Wish, *, installation: Installation, actor: str, now: datetime) -> str:
    """Let somebody in, and return the name of its entry.

    ``who`` is the number or the title of a caller that was turned away, or the name of an entry that is kept out.
    """
    if any(recorded.entry.name == who and not recorded.entry.allowed for recorded in peers.listed(session)):
        peers.set_allowed(session, who, allowed=True, actor=actor, now=now)
        return who
    caller = _find_caller(session, who)
    entry = _entry_for(session, caller, wish, installation=installation)
    peers.add(session, entry, actor=actor, now=now)
    return entry.name


def _find_caller(session: Session, who: str) -> RefusedPeer:
    """Return the caller with this number or title; RecordMissing where there is none, or more than one of a title."""
    if who.isascii() and who.isdigit():
        return refused_peers.find(session, int(who))
    found = refused_peers.of_title(session, who)
    if not found:
        raise RecordMissing(f"nobody was turned away who calls itself {who}; see `oncue peers list --refused`")
    if len(found) > 1:
        numbers = ", ".join(f"{one.number} ({one.address}, calling {one.called_aet})" for one in found)
        raise RecordMissing(f"more than one was turned away that calls itself {who}; give the number: {numbers}")
    return found[0]


def _entry_for(session: Session, caller: RefusedPeer, wish: Wish, *, installation: Installation) -> PeerEntry:
    """Return the entry that lets a caller in; PeerInvalid where none would."""
    rules = MatchingRules.of(installation.settings.gateway)
    if rules.is_fenced_out(caller.address):
        raise PeerInvalid(
            f"gateway.allowed_networks keeps {caller.address} out whatever the entries say: add its network there first"
        )
    if caller.code not in ADMISSIBLE:
        advice = remedy(caller, own_aet=rules.own_aet, state=installation.state)
        raise PeerInvalid(f"a new entry does not help against [{caller.code}]: {advice}")
    taken = [recorded.entry.name for recorded in peers.listed(session)]
    return PeerEntry(
        name=wish.name or peer_entries.name_for(caller.calling_aet, taken),
        calling_aet=caller.calling_aet,
        called_aet=None if caller.called_aet == rules.own_aet else caller.called_aet,
        network=wish.network or _network_of(caller.address),
        lane=wish.lane,
    )


def _network_of(address: str) -> str:
    """Return the network of one address: an IPv4 address in IPv6 form is that of IPv4, and a zone is left out."""
    parsed = ip_address(address.partition("%")[0])
    return str(ip_network(getattr(parsed, "ipv4_mapped", None) or parsed))
