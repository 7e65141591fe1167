"""Rounds that judge what peers asked us to vouch for, and report it over associations of our own."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import structlog

from dicom_gateway.commitment.peers import CommitmentPeers
from dicom_gateway.commitment.service import Vouching
from dicom_gateway.destinations import Destination
from dicom_gateway.errors import ReportAddressMissing
from storage import peers
from storage.commitment import requests
from storage.commitment.judging import judge
from storage.commitment.requests import CommitmentRequest
from storage.errors import OncueError, RecordMissing
from storage.states import CommitmentState

PATIENCE = timedelta(seconds=30)
"""How long an instance that is not on record is waited for."""
_LOOK_SECONDS = 1.0
_AT_ONCE = 4
_MOST = 20
_LEASE_SECONDS = 300.0

logger = structlog.get_logger(__name__)


class ReportRounds:
    """Goes through the requests that their associations left behind, some of them at once."""

    def __init__(self, vouching: Vouching, speaker: CommitmentPeers) -> None:
        self._vouching = vouching
        self._speaker = speaker

    def run(self) -> float | None:
        """Judge and report what is due; return in how many seconds something is due next, None for nothing."""
        with self._vouching.database.read() as session:
            due = requests.due(session, now=self._vouching.clock(), limit=_MOST)
        if due:
            with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="commitment") as threads:
                list(threads.map(self._advance, due))
        with self._vouching.database.read() as session:
            next_at = requests.next_at(session)
        return None if next_at is None else max((next_at - self._vouching.clock()).total_seconds(), 0.0)

    def _advance(self, request_id: int) -> None:
        with self._vouching.database.write() as session:
            request = requests.take(session, request_id, seconds=_LEASE_SECONDS, now=self._vouching.clock())
        if request is not None and request.state is CommitmentState.ASKED:
            request = self._judged(request)
        if request is not None:
            self._report(request)

    def _judged(self, request: CommitmentRequest) -> CommitmentRequest | None:
        """Judge a request; None where instances that are not on record may still come."""
        judgement = judge(self._vouching.database, self._vouching.objects, request.references)
        now = self._vouching.clock()
        with self._vouching.database.write() as session:
            if judgement.unknown and now - request.asked_at < PATIENCE:
                requests.put_aside(session, request.id, seconds=_LOOK_SECONDS, now=now)
                return None
            return requests.judged(session, request.id, judgement.failures, now=now)

    def _report(self, request: CommitmentRequest) -> None:
        log = logger.bind(peer=request.peer, transaction=request.transaction_uid)
        try:
            self._speaker.report(self._address(request.peer), self._vouching.report_of(request))
        except OncueError as error:
            with self._vouching.database.write() as session:
                now = self._vouching.clock()
                state = requests.postponed(session, request.id, code=error.code, reason=str(error), now=now)
            log.warning("commitment.not_reported", code=error.code, reason=str(error), state=state.value)
            return
        with self._vouching.database.write() as session:
            requests.reported(session, request.id, now=self._vouching.clock())
        log.info("commitment.reported", failures=len(request.failures or ()))

    def _address(self, peer: str) -> Destination:
        with self._vouching.database.read() as session:
            try:
                address = peers.find(session, peer).entry.store_address
            except RecordMissing:
                address = None
        if address is None:
            raise ReportAddressMissing(
                f"peer {peer} released its association before the report, and nobody said where it takes that: "
                "give its entry --store-address AET@HOST:PORT"
            )
        return Destination.parse(address)
