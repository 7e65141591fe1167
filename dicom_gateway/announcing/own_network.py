"""Connections that must not end inside the own network, whoever names the address or answers for it in the DNS.

A name is resolved once. What it was resolved to is judged, connected to, and judged again: a name that leads elsewhere
at the second question leads nowhere.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Collection, Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import psutil

from dicom_gateway.errors import AddressInOwnNetwork, PeerUnreachable

_Address = IPv4Address | IPv6Address
_Network = IPv4Network | IPv6Network
_GLOBAL_UNICAST = IPv6Network("2000::/3")  # RFC 4291 2.4
_EMBEDDING = (
    IPv6Network("::ffff:0:0/96"),  # IPv4-mapped, RFC 4291 2.5.5.2
    IPv6Network("64:ff9b::/96"),  # NAT64, RFC 6052 2.1
)
_SIX_TO_FOUR = IPv6Network("2002::/16")  # RFC 3056
_NOT_OUTSIDE: tuple[_Network, ...] = (
    IPv4Network("168.63.129.16/32"),  # a cloud's service for its own machines; those of others are link-local
    # Of IANA's registries of special-purpose addresses (RFC 6890), what not every Python release counts among them.
    IPv4Network("192.0.0.0/24"),
    IPv4Network("192.88.99.0/24"),
    IPv6Network("2001::/23"),
    IPv6Network("3fff::/20"),
)
_SHORTEST_SECONDS = 0.01
_LOW_BITS = 0xFFFFFFFF
_FAMILIES = (socket.AF_INET, socket.AF_INET6)


def connect(host: str, port: int, *, private_network: bool, seconds: float) -> socket.socket:
    """Connect by TCP; within ``seconds`` in all, whatever the number of addresses that a name has.

    AddressInOwnNetwork where the name leads into the own network and that is not allowed, also where it leads
    elsewhere as well; PeerUnreachable where nobody answers.
    """
    addresses = _resolved(host, port)
    if not private_network:
        _require_outside(host, (ip_address(_bare(address)) for _, address in addresses))
    return _first_answering(host, port, addresses, private_network=private_network, seconds=seconds)


def is_inside(address: _Address, attached: Collection[_Network] | None = None) -> bool:
    """Say whether an address belongs to the own network: to a private or special range, or to a neighbour of ours.

    ``attached`` are the networks that this machine is part of, as its interfaces say where none are given. Of an IPv6
    address that stands for an IPv4 one, that one is judged.
    """
    embedded = _embedded(address)
    if embedded is not None:
        return is_inside(embedded, attached)
    if isinstance(address, IPv6Address) and address not in _GLOBAL_UNICAST:
        return True
    if not address.is_global or address.is_multicast:
        return True
    networks = (*_NOT_OUTSIDE, *(attached_networks() if attached is None else attached))
    return any(address in network for network in networks if network.version == address.version)


def is_this_machine(host: str) -> bool:
    """Say whether a host is written as this machine itself: what goes there passes no network."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def attached_networks() -> tuple[_Network, ...]:
    """Return the networks of this machine's interfaces; those that hold every address are none."""
    found = []
    for addresses in psutil.net_if_addrs().values():
        for one in addresses:
            if one.family in _FAMILIES and one.netmask:
                bits = int(ip_address(_unzoned(one.netmask))).bit_count()
                found.append(ip_network((_unzoned(one.address), bits), strict=False))
    return tuple(network for network in found if network.prefixlen)


def _resolved(host: str, port: int) -> list[tuple[int, tuple[str, int]]]:
    """Return family and socket address of each address that a name has."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise PeerUnreachable(f"{host}: the host name cannot be resolved; check the address") from error
    usable = [(family, address) for family, _, _, _, address in found if family in _FAMILIES]
    if not usable:
        raise PeerUnreachable(f"{host}: the host name has no IP address; check the address")
    return list(dict.fromkeys(usable))  # type: ignore[arg-type]  # an IPv6 one has two parts more


def _first_answering(
    host: str, port: int, addresses: Sequence[tuple[int, tuple[str, int]]], *, private_network: bool, seconds: float
) -> socket.socket:
    """Connect to the first address that answers; one that says nothing uses up its own share of the time alone."""
    until = time.monotonic() + seconds
    for place, (family, address) in enumerate(addresses):
        left = max(until - time.monotonic(), _SHORTEST_SECONDS) / (len(addresses) - place)
        connection = socket.socket(family, socket.SOCK_STREAM)
        try:
            connection.settimeout(left)
            connection.connect(address)
            if not private_network:
                _require_outside(host, [ip_address(_bare(connection.getpeername()))])
        except OSError:
            connection.close()
            continue
        except AddressInOwnNetwork:
            connection.close()
            raise
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection
    raise PeerUnreachable(f"{host}:{port} does not answer; check that it runs, and host, port and firewall")


def _require_outside(host: str, addresses: Iterable[_Address]) -> None:
    attached = attached_networks()
    if any(is_inside(address, attached) for address in addresses):
        raise AddressInOwnNetwork(
            f"{host} leads into the own network, and nothing was sent: if the receiver is there, allow it by "
            "`oncue channels change NAME --private-network`"
        )


def _embedded(address: _Address) -> IPv4Address | None:
    """Return the IPv4 address that an IPv6 address stands for."""
    if isinstance(address, IPv4Address):
        return None
    if any(address in network for network in _EMBEDDING):
        return IPv4Address(int(address) & _LOW_BITS)
    return address.sixtofour if address in _SIX_TO_FOUR else None


def _bare(address: tuple[str, int]) -> str:
    return _unzoned(address[0])


def _unzoned(text: str) -> str:
    return text.partition("%")[0]
