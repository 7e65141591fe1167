"""A test of one entry: whether its peer would be let in now, what stands in its way, and whether it answers."""

from __future__ import annotations

import http
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import ip_network

from sqlalchemy.orm import Session

from console.peers.remedies import described
from dicom_gateway.asking.web_client import WebClient
from dicom_gateway.config import ClientCertificates, GatewaySettings, ListenerSettings
from dicom_gateway.destinations import Destination, WebAddress
from dicom_gateway.http_exchange import Deadline
from dicom_gateway.receiving.admission import CERTIFICATE_NOT_ALLOWED, Caller, Refused
from dicom_gateway.receiving.peer_matching import MatchingRules, PeerList
from dicom_gateway.sending.associations import PeerTimeouts
from dicom_gateway.sending.verifying import echo
from dicom_gateway.tls.destination_handshake import DestinationTls
from storage import associations, peer_usage, peers, processes, refused_peers
from storage.database import utc_now
from storage.errors import OncueError
from storage.peer_usage import Usage
from storage.peers import PeerEntry

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
"""Hosts of a listener that only this machine reaches."""
_SOMEWHERE = "192.0.2.1"
"""An address that nobody has (RFC 5737): it stands for any where an entry names no network."""
_PATIENCE = PeerTimeouts(connect_seconds=5, associate_seconds=5, answer_seconds=5)
_HTTP_SECONDS = 5.0
_RECENTLY = timedelta(hours=1)
_MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class Tested:
    """One thing that was looked at; the fields are the keys of ``oncue peers test --json``."""

    subject: str
    passed: bool
    detail: str


def try_entry(
    session: Session, name: str, rules: MatchingRules, *, ports: Sequence[ListenerSettings], address: str | None = None
) -> tuple[Tested, ...]:
    """Test what an entry says, as the records stand now; RecordMissing where there is none of this name.

    ``ports`` are all that the gateway listens on, ``address`` is the one that the peer comes from, if that is known.
    """
    entry = peers.find(session, name).entry
    return (
        _admission(session, entry, rules, address),
        *_reachability(entry, ports),
        _gateway(session),
        *_quotas(session, entry),
        *_refusals(session, entry, rules),
    )


def try_query(address: str, gateway: GatewaySettings) -> Tested:
    """Ask the peer whether it is there: by C-ECHO, or by QIDO-RS for one study (PS3.18 10.6)."""
    if address.startswith(("http://", "https://")):
        return _dicomweb(address, gateway)
    return _echoed("query address", address, gateway)


def try_store(address: str, gateway: GatewaySettings) -> Tested:
    """Ask by C-ECHO whether the peer is there where it takes what it asks for."""
    return _echoed("store address", address, gateway)


def _echoed(subject: str, address: str, gateway: GatewaySettings) -> Tested:
    tls = DestinationTls(gateway)
    outcome = echo(Destination.parse(address), calling_ae_title=gateway.aet, timeouts=_PATIENCE, tls=tls)
    if outcome.answered:
        return Tested(subject, passed=True, detail=f"{address} answered C-ECHO")
    return Tested(subject, passed=False, detail=f"[{outcome.code}] {outcome.reason}")


def _admission(session: Session, entry: PeerEntry, rules: MatchingRules, address: str | None) -> Tested:
    names = () if entry.certificate_name is None else (entry.certificate_name,)
    caller = Caller(entry.calling_aet, entry.called_aet or rules.own_aet, address or _address(entry, rules), names)
    found = PeerList(peers.entries(session), rules).match(caller)
    who = f"{caller.calling_aet} at {caller.address}, calling {caller.called_aet}"
    if isinstance(found, Refused):
        return Tested("admission", passed=False, detail=f"{who}, would be turned away: [{found.code}]")
    if found.name != entry.name:
        return Tested("admission", passed=True, detail=f"{who}, would be let in by {found.name}, which says more of it")
    services = ", ".join(sorted(found.services))
    return Tested("admission", passed=True, detail=f"{who}, would be let in: lane {found.lane}, services {services}")


def _address(entry: PeerEntry, rules: MatchingRules) -> str:
    """Return an address that the peer could have."""
    if entry.network is not None:
        return str(ip_network(entry.network)[0])
    return str(rules.networks[0][0]) if rules.networks else _SOMEWHERE


def _reachability(entry: PeerEntry, ports: Sequence[ListenerSettings]) -> Iterator[Tested]:
    """Say what keeps the peer from every port: none where it could show a certificate, or none beyond this machine."""
    if entry.certificate_name is not None:
        ports = [port for port in ports if port.tls and port.client_certificates is not ClientCertificates.NONE]
        if not ports:
            detail = "its entry wants a client certificate, and no listener asks for one: set gateway.listeners"
            yield Tested("listener", passed=False, detail=detail)
            return
    is_here = entry.network is not None and ip_network(entry.network).is_loopback
    if not is_here and all(port.host in LOOPBACK for port in ports):
        hosts = " and ".join(dict.fromkeys(port.host for port in ports))
        key = "the host of one in gateway.listeners" if entry.certificate_name else "gateway.host or gateway.listeners"
        detail = f"it listens on {hosts}, where only this machine reaches it: set {key}"
        yield Tested("listener", passed=False, detail=detail)


def _gateway(session: Session) -> Tested:
    now = utc_now()
    at_work = sum(process.is_alive(now) for process in processes.running(session, kind="gateway"))
    detail = f"{at_work} at work" if at_work else "none at work: `oncue up`"
    return Tested("gateway", passed=at_work > 0, detail=detail)


def _quotas(session: Session, entry: PeerEntry) -> Iterator[Tested]:
    used = peer_usage.of_hour(session, peer_usage.hour_of(utc_now())).get(entry.name, Usage())
    for what, count, bound in (
        ("associations", used.associations, entry.quotas.associations),
        ("images", used.images, entry.quotas.images),
        ("megabytes", -(-used.size_bytes // _MEGABYTE), entry.quotas.megabytes),
    ):
        if bound is not None:
            yield Tested(f"{what} per hour", passed=count < bound, detail=f"{count} of {bound} used in this hour")


def _refusals(session: Session, entry: PeerEntry, rules: MatchingRules) -> Iterator[Tested]:
    """Name what was turned away under this title lately, and say whether it would be by what holds now."""
    matching = PeerList(peers.entries(session), rules)
    for refused in refused_peers.of_title(session, entry.calling_aet):
        if utc_now() - refused.last_at >= _RECENTLY:
            continue
        # From another address, too, or calling another title: that may have been what was wrong.
        if associations.is_let_in_since(session, refused.calling_aet, refused.last_at):
            yield Tested(
                "turned away", passed=True, detail=f"{described(refused)}; {entry.calling_aet} was let in since"
            )
            continue
        # Which certificate it showed is not on record: where that was the reason, none is taken for granted.
        wanted = None if refused.code == CERTIFICATE_NOT_ALLOWED.code else entry.certificate_name
        names = () if wanted is None else (wanted,)
        answer = matching.match(Caller(refused.calling_aet, refused.called_aet, refused.address, names))
        if isinstance(answer, Refused):
            yield Tested("turned away", passed=False, detail=described(refused))
        else:
            yield Tested("turned away", passed=True, detail=f"{described(refused)}; it would be let in now")


def _dicomweb(address: str, gateway: GatewaySettings) -> Tested:
    try:
        service = WebClient(WebAddress.parse(address), tls=DestinationTls(gateway))
        status = service.status("/studies?limit=1", deadline=Deadline(_HTTP_SECONDS))
    except OncueError as error:
        return Tested("query address", passed=False, detail=f"[{error.code}] {error}")
    passed = status in (http.HTTPStatus.OK, http.HTTPStatus.NO_CONTENT)
    return Tested("query address", passed=passed, detail=f"{address} answered QIDO-RS with HTTP {status}")
