"""How many wrong tokens an address may try: guessing 256 bits is hopeless, but it must not work the database either."""

from __future__ import annotations

import ipaddress
import threading
from collections import OrderedDict
from dataclasses import dataclass, field

MOST_WRONG = 10
"""Different wrong tokens that one network may present within ``WINDOW_SECONDS``."""

WINDOW_SECONDS = 60.0
_MOST_NETWORKS = 1024
_MOST_KNOWN = 1024
_IPV6_PREFIX = 64


@dataclass(slots=True)
class _Window:
    """What one network presented since ``begun``."""

    begun: float
    wrong: set[str] = field(default_factory=set)


class Attempts:
    """Counts different wrong tokens by network, an IPv4 address or an IPv6 /64, and remembers tokens that were right.

    The same wrong token again, as of a program with an old one, is counted once: it keeps nobody else of its network
    out. A token that was right lately is looked at in any case. Times are of a clock that never goes back, in seconds.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._windows: OrderedDict[str, _Window] = OrderedDict()
        self._known: OrderedDict[str, None] = OrderedDict()

    def seconds_to_wait(self, address: str, digest: str, *, now: float) -> float:
        """Return how long an address must wait before this token is looked at; 0 where it need not."""
        with self._lock:
            window = self._windows.get(_network(address))
            if window is None or digest in self._known or digest in window.wrong or len(window.wrong) < MOST_WRONG:
                return 0.0
            return max(0.0, window.begun + WINDOW_SECONDS - now)

    def note_wrong(self, address: str, digest: str, *, now: float) -> None:
        """Count a token that was wrong."""
        with self._lock:
            self._known.pop(digest, None)
            network = _network(address)
            window = self._windows.get(network)
            if window is None or now - window.begun >= WINDOW_SECONDS:
                window = self._windows[network] = _Window(now)
            window.wrong.add(digest)
            _keep_newest(self._windows, network, _MOST_NETWORKS)

    def note_right(self, digest: str) -> None:
        """Remember a token that was right."""
        with self._lock:
            self._known[digest] = None
            _keep_newest(self._known, digest, _MOST_KNOWN)


def _keep_newest(kept: OrderedDict[str, _Window] | OrderedDict[str, None], newest: str, most: int) -> None:
    kept.move_to_end(newest)
    while len(kept) > most:
        kept.popitem(last=False)


def _network(address: str) -> str:
    """Return the network that counts as one: whoever has one IPv6 address has the others of its /64, too."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is None:
        return str(ipaddress.ip_network((parsed, _IPV6_PREFIX), strict=False))
    return address
