"""Which entry a caller is let in by. Pure: entries, rules and a caller in, an entry or a refusal out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from dicom_gateway.config import GatewaySettings
from dicom_gateway.receiving.admission import (
    CALLED_AET_UNKNOWN,
    CALLING_AET_UNKNOWN,
    CERTIFICATE_NOT_ALLOWED,
    NETWORK_NOT_ALLOWED,
    PEER_BLOCKED,
    Caller,
    Refused,
)
from dicom_gateway.receiving.store_request import Network, address_allowed
from storage.peers import LOOPBACK, PeerEntry


@dataclass(frozen=True, slots=True)
class MatchingRules:
    """What holds whatever the entries say: our title and address, the outer fence, and whether loopback needs none."""

    own_aet: str
    own_host: str
    networks: tuple[Network, ...]
    admit_loopback: bool

    @classmethod
    def of(cls, settings: GatewaySettings) -> MatchingRules:
        """Return the rules that settings hold."""
        return cls(settings.aet, settings.host, tuple(settings.allowed_networks), settings.admit_loopback)

    def is_this_machine(self, address: str) -> bool:
        """Say whether a sender on this machine has this address and needs no entry.

        A listener that is bound to one address sees senders of its own machine come from that address.
        """
        return self.admit_loopback and (address == self.own_host or _parsed(address).is_loopback)

    def is_fenced_out(self, address: str) -> bool:
        """Say whether the settings keep an address out, whoever it is."""
        return not self.is_this_machine(address) and not address_allowed(address, self.networks)


@dataclass(frozen=True, slots=True)
class _Candidate:
    entry: PeerEntry
    network: Network | None

    def is_called(self, title: str, own_aet: str) -> bool:
        return title == (self.entry.called_aet or own_aet)

    def contains(self, address: str) -> bool:
        return self.network is None or address_allowed(address, (self.network,))

    def is_certified(self, names: Iterable[str]) -> bool:
        wanted = self.entry.certificate_name
        # DNS names know no case (RFC 4343), and common names that differ in it alone are no two peers.
        return wanted is None or wanted.casefold() in {name.casefold() for name in names}

    def detail(self) -> tuple[bool, int, bool]:
        """Return how much it says of a caller, for an order: a certificate, then a narrow network, then a title."""
        width = -1 if self.network is None else self.network.prefixlen + (128 - self.network.max_prefixlen)
        return self.entry.certificate_name is not None, width, self.entry.called_aet is not None


class PeerList:
    """The entries as they were at one moment."""

    def __init__(self, entries: Iterable[PeerEntry], rules: MatchingRules) -> None:
        self._rules = rules
        self._by_title: dict[str, list[_Candidate]] = {}
        self._by_name: dict[str, PeerEntry] = {}
        for entry in entries:
            network = None if entry.network is None else ip_network(entry.network)
            self._by_title.setdefault(entry.calling_aet, []).append(_Candidate(entry, network))
            self._by_name[entry.name] = entry
        candidates = [one for group in self._by_title.values() for one in group if one.entry.allowed]
        self._anywhere = any(one.network is None for one in candidates)
        self._networks = frozenset(one.network for one in candidates if one.network is not None)
        self._prefixes = frozenset((network.version, network.prefixlen) for network in self._networks)

    def find(self, name: str) -> PeerEntry | None:
        """Return the entry of this name."""
        return self._by_name.get(name)

    def knows_address(self, address: str) -> bool:
        """Say whether a caller of some entry may come from an address."""
        if self._rules.is_this_machine(address):
            return True
        if self._rules.is_fenced_out(address):
            return False
        return self._anywhere or self._is_in_a_network(_parsed(address))

    def match(self, caller: Caller) -> PeerEntry | Refused:
        """Return the entry that says most of a caller, or what keeps it out.

        A sender on this machine that no entry describes gets one named ``loopback``, without quotas.
        """
        if self._rules.is_fenced_out(caller.address):
            return NETWORK_NOT_ALLOWED
        found = self._best(caller)
        if not isinstance(found, Refused):
            return found.entry if found.entry.allowed else PEER_BLOCKED
        if self._rules.is_this_machine(caller.address) and caller.called_aet == self._rules.own_aet:
            return PeerEntry(LOOPBACK, caller.calling_aet)
        return found

    def _is_in_a_network(self, address: IPv4Address | IPv6Address) -> bool:
        """Look an address up once for each length of prefix: every connection is asked about, and networks are many."""
        return any(
            ip_network((address, length), strict=False) in self._networks
            for version, length in self._prefixes
            if version == address.version
        )

    def _best(self, caller: Caller) -> _Candidate | Refused:
        """Narrow the entries of the title down, and say at which step none was left."""
        own = self._rules.own_aet
        candidates = self._by_title.get(caller.calling_aet, [])
        if not candidates:
            return CALLING_AET_UNKNOWN if self._is_a_title(caller.called_aet) else CALLED_AET_UNKNOWN
        steps: tuple[tuple[Refused, Callable[[_Candidate], bool]], ...] = (
            (CALLED_AET_UNKNOWN, lambda one: one.is_called(caller.called_aet, own)),
            (NETWORK_NOT_ALLOWED, lambda one: one.contains(caller.address)),
            (CERTIFICATE_NOT_ALLOWED, lambda one: one.is_certified(caller.certificate_names)),
        )
        for refused, fits in steps:
            candidates = [one for one in candidates if fits(one)]
            if not candidates:
                return refused
        return max(candidates, key=_Candidate.detail)

    def _is_a_title(self, called_aet: str) -> bool:
        """Say whether we are called so by anybody."""
        return called_aet == self._rules.own_aet or any(
            entry.called_aet == called_aet for entry in self._by_name.values()
        )


def _parsed(address: str) -> IPv4Address | IPv6Address:
    parsed = ip_address(address.partition("%")[0])
    return getattr(parsed, "ipv4_mapped", None) or parsed
