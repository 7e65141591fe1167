"""Who may hold an association: bounds for all, for each peer and each address, and idle ones that give way."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

_IDLE_GRACE_SECONDS = 3.0
_STALLED_GRACE_SECONDS = 20.0
_PROGRESS_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class SlotLimits:
    """How many associations may be open: in all, of one peer, from one address.

    The last ``reserved`` places are for peers that hold none.
    """

    maximum: int
    per_peer: int
    per_address: int
    reserved: int


@dataclass(slots=True, eq=False)
class Slot:
    """The place of one open association. Its own thread marks what it does; ``displace`` is called by others."""

    peer: str
    address: str
    displace: Callable[[], None]
    quiet_since: float
    is_answering: bool = False
    is_under_way: bool = False
    _unmarked_bytes: int = 0

    def received(self, size_bytes: int) -> None:
        """Note a fragment of a request; a request that hardly moves counts as stalled."""
        self.is_under_way = True
        self._unmarked_bytes += size_bytes
        if self._unmarked_bytes >= _PROGRESS_BYTES:
            self._mark()

    def answering(self) -> None:
        """Note that a request is there in full: until it is answered, waiting is not the peer's fault."""
        self.is_answering = True

    def answered(self) -> None:
        """Note that a request was answered: from now on the association is idle."""
        self.is_answering = self.is_under_way = False
        self._mark()

    def gives_way(self, now: float) -> bool:
        """Say whether the association was idle, or stalled, for longer than a newcomer must respect."""
        grace = _STALLED_GRACE_SECONDS if self.is_under_way else _IDLE_GRACE_SECONDS
        return not self.is_answering and now - self.quiet_since >= grace

    def _mark(self) -> None:
        self.quiet_since, self._unmarked_bytes = time.monotonic(), 0


class Slots:
    """The places of one listener. Threads share it."""

    def __init__(self, limits: SlotLimits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self._lock = threading.Lock()
        self._taken: set[Slot] = set()

    def take(self, peer: str, address: str, displace: Callable[[], None]) -> Slot | None:
        """Give a newcomer a place, where need be that of an idle association; None where there is none.

        Where its peer or its address has too many, only those give way; where all places are taken, the idle ones of
        the peer that holds most, but of no peer that holds fewer than the newcomer's. The longest idle one goes first.
        """
        newcomer = Slot(peer, address, displace, self._clock())
        with self._lock:
            leaving = self._leaving(newcomer)
            if leaving is None:
                return None
            self._taken -= leaving
            self._taken.add(newcomer)
        for slot in leaving:
            slot.displace()
        return newcomer

    def free(self, slot: Slot) -> None:
        """Give a place back; one that was taken away before changes nothing."""
        with self._lock:
            self._taken.discard(slot)

    def _leaving(self, newcomer: Slot) -> set[Slot] | None:
        """Return who must go for a newcomer, None where that does not help."""
        leaving: set[Slot] = set()
        while (candidates := self._in_the_way(newcomer, self._taken - leaving)) is not None:
            now = self._clock()
            held = _counted(slot.peer for slot in self._taken - leaving)
            idle = [slot for slot in candidates if slot.gives_way(now)]
            if not idle:
                return None
            leaving.add(min(idle, key=lambda slot: (-held[slot.peer], slot.quiet_since)))
        return leaving

    def _in_the_way(self, newcomer: Slot, taken: set[Slot]) -> set[Slot] | None:
        """Return the associations of which one must go, None where there is room."""
        limits = self._limits
        same_peer = {slot for slot in taken if slot.peer == newcomer.peer}
        if len(same_peer) >= limits.per_peer:
            return same_peer
        same_address = {slot for slot in taken if slot.address == newcomer.address}
        if len(same_address) >= limits.per_address:
            return same_address
        room = limits.maximum - (limits.reserved if same_peer else 0)
        if len(taken) >= room:
            held = _counted(slot.peer for slot in taken)
            return {slot for slot in taken if held[slot.peer] >= len(same_peer)}
        return None


def _counted(peers: Iterable[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for peer in peers:
        counts[peer] = counts.get(peer, 0) + 1
    return counts
