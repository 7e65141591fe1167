"""What each peer has used in this hour of the clock, held against its quotas. Threads may share it.

Counted here and added to the database in batches: another gateway's share is seen when it has added its own.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from datetime import datetime

from storage.peer_usage import Usage, hour_of
from storage.peers import PeerEntry, Quotas

_MEGABYTE = 1_000_000
Counts = Mapping[tuple[datetime, str], Usage]


class HourlyUsage:
    """The counts of one gateway: what the database had, and what is not added to it yet."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._hour: datetime | None = None
        self._recorded: Mapping[str, Usage] = {}
        self._pending: dict[tuple[datetime, str], Usage] = {}

    def take(self, entry: PeerEntry, wanted: Usage, *, now: datetime) -> bool:
        """Count what a peer is about to use, unless that is more than its quotas leave; say whether it was counted."""
        hour = hour_of(now)
        key = (hour, entry.name)
        with self._lock:
            pending = self._pending.get(key, Usage())
            recorded = self._recorded.get(entry.name, Usage()) if hour == self._hour else Usage()
            if _exceeds(recorded.plus(pending).plus(wanted), wanted, entry.quotas):
                return False
            self._pending[key] = pending.plus(wanted)
            return True

    def pending(self) -> Counts:
        """Return what is to be added to the database, by hour and peer."""
        with self._lock:
            return dict(self._pending)

    def recorded(self, added: Counts, totals: Mapping[str, Usage], *, hour: datetime) -> None:
        """Take note that counts were added to the database, and of what it holds now of an hour."""
        with self._lock:
            for key, usage in added.items():
                left = self._pending[key].minus(usage)
                if left == Usage():
                    del self._pending[key]
                else:
                    self._pending[key] = left
            self._hour, self._recorded = hour, totals


def _exceeds(total: Usage, wanted: Usage, quotas: Quotas) -> bool:
    """Say whether a total is above a quota of what is asked for: many images do not keep an association out."""
    return any(
        asked > 0 and bound is not None and used > bound
        for asked, used, bound in (
            (wanted.associations, total.associations, quotas.associations),
            (wanted.images, total.images, quotas.images),
            (wanted.size_bytes, total.size_bytes, None if quotas.megabytes is None else quotas.megabytes * _MEGABYTE),
        )
    )
