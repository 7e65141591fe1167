"""Admission by the peers' entries in the database, which are read anew within two seconds of a change.

Whoever asks for an association waits for no query: the entries lie in memory, and what is counted is added to the
database by a thread of its own. While the database does not answer, the entries last read go on to hold.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

from dicom_gateway.config import GatewaySettings
from dicom_gateway.errors import GatewayError, PeerRefused, QuotaExceeded
from dicom_gateway.loops import Loop
from dicom_gateway.receiving.admission import PEER_BLOCKED, QUOTA_EXCEEDED, Admitted, Caller, Refused
from dicom_gateway.receiving.hourly_usage import Counts, HourlyUsage
from dicom_gateway.receiving.peer_matching import MatchingRules, PeerList
from dicom_gateway.receiving.refusal_count import EventBudget, RefusalCount
from storage import peer_usage, peers, refused_peers
from storage.changes import Changes
from storage.database import Database
from storage.errors import StorageError
from storage.peer_usage import Usage
from storage.peers import LOOPBACK, Service
from storage.refused_peers import Attempts

_ROUND_SECONDS = 0.5
_LOOK_SECONDS = 1.0
_USAGE_EVERY = timedelta(seconds=5)

logger = structlog.get_logger(__name__)


class PeerAdmission:
    """Implements Admission. Without ``start`` the entries are those of the first question."""

    def __init__(self, database: Database, settings: GatewaySettings, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._rules = MatchingRules.of(settings)
        self._clock = clock
        self._peers: PeerList | None = None
        self._usage = HourlyUsage()
        self._usage_added_at: datetime | None = None
        self._refusals = RefusalCount()
        self._budget = EventBudget()
        # Held while counts are added: at a stop the round in progress may not have ended, and would add them twice.
        self._recording = threading.Lock()
        self._stopping = threading.Event()
        self._changes = Changes(database, poll_seconds=_LOOK_SECONDS)
        self._loop = Loop("peers", self._keep_up, seconds=_ROUND_SECONDS)

    def start(self) -> None:
        """Read the entries, and keep up with them from now on; StorageError where the database is not there."""
        self.refresh()
        self._loop.start()

    def stop(self) -> None:
        """End, and put on record what was counted."""
        self._stopping.set()
        self._loop.stop()
        self._loop.join()
        self._changes.close()
        try:
            self.record_counts()
        except StorageError as error:
            logger.warning("peers.counts_not_recorded", code=error.code)

    def admit(self, caller: Caller) -> Admitted | Refused:
        """Say by its entry whether a caller may open an association, and count it."""
        entry = self._list().match(caller)
        if isinstance(entry, Refused):
            return entry
        if entry.name != LOOPBACK and not self._usage.take(entry, Usage(associations=1), now=self._clock()):
            return QUOTA_EXCEEDED
        return Admitted(caller, entry.name, entry.lane, entry.services, entry.sop_classes)

    def is_known_address(self, address: str) -> bool:
        """Say whether the caller of some entry may have this address."""
        return self._list().knows_address(address)

    def still_allows(self, admitted: Admitted, service: Service) -> bool:
        """Say whether the peer's entry is there, lets it in, and names the service."""
        if admitted.peer == LOOPBACK:
            return service in admitted.services
        entry = self._list().find(admitted.peer)
        if entry is not None and entry.allowed and service in entry.services:
            return True
        self.note_refusal(admitted.caller, PEER_BLOCKED)
        return False

    def charge(self, admitted: Admitted, size_bytes: int) -> GatewayError | None:
        """Count one image, unless the peer's entry is gone or blocked, or its quotas are used up in this hour."""
        if admitted.peer == LOOPBACK:
            return None
        entry = self._list().find(admitted.peer)
        if entry is None or not entry.allowed:
            self.note_refusal(admitted.caller, PEER_BLOCKED)
            return PeerRefused(f"peer {admitted.peer} may no longer send: its entry was removed or blocked")
        now = self._clock()
        if self._usage.take(entry, Usage(images=1, size_bytes=size_bytes), now=now):
            return None
        self.note_refusal(admitted.caller, QUOTA_EXCEEDED)
        until = peer_usage.hour_of(now) + timedelta(hours=1)
        return QuotaExceeded(f"peer {admitted.peer} has used up its images or megabytes until {until:%H:%M} UTC")

    def note_refusal(self, caller: Caller, refused: Refused) -> None:
        """Count that a caller was turned away."""
        self._refusals.add(caller, refused, now=self._clock())

    def refresh(self) -> None:
        """Read the entries, and what their peers used in this hour."""
        hour = peer_usage.hour_of(self._clock())
        with self._database.read() as session:
            self._peers = PeerList(peers.entries(session), self._rules)
            totals = peer_usage.of_hour(session, hour)
        self._usage.recorded({}, totals, hour=hour)

    def record_counts(self, *, with_usage: bool = True) -> None:
        """Put on record what was counted of those turned away, and of peers; what cannot be is kept for later."""
        with self._recording:
            used = self._usage.pending() if with_usage else {}
            if used:
                self._record_usage(used)
            attempts = self._refusals.take()
            if attempts:
                self._record_refusals(attempts)

    def _list(self) -> PeerList:
        if self._peers is None:
            self.refresh()
        assert self._peers is not None  # noqa: S101 - refresh sets it or raises
        return self._peers

    def _keep_up(self) -> None:
        """One round: wait a moment for a commit of anybody, read the entries after one, and record what is due."""
        if self._changes.wait(self._stopping, _LOOK_SECONDS):
            self.refresh()
        last = self._usage_added_at
        # A clock that was set back must not keep the counts here until it has caught up.
        self.record_counts(with_usage=last is None or abs(self._clock() - last) >= _USAGE_EVERY)

    def _record_usage(self, used: Counts) -> None:
        now = self._clock()
        hour = peer_usage.hour_of(now)
        with self._database.write() as session:
            peer_usage.add(session, used, now=now)
            peers.seen(session, frozenset(name for _, name in used), now=now)
            totals = peer_usage.of_hour(session, hour)
        self._usage.recorded(used, totals, hour=hour)
        self._usage_added_at = now

    def _record_refusals(self, attempts: tuple[Attempts, ...]) -> None:
        now = self._clock()
        events = self._budget.left(now)
        try:
            with self._database.write() as session:
                news = refused_peers.note(session, attempts, events=events, now=now)
                if self._budget.spend(len(news)):
                    refused_peers.note_beyond(session, len(news) - events, now=now)
        except StorageError:
            self._refusals.give_back(attempts)
            raise
        for each in news[:events]:
            logger.warning(
                "association.refused",
                code=each.code,
                calling_aet=each.calling_aet,
                called_aet=each.called_aet,
                address=each.address,
                attempts=each.count,
            )
