"""Rounds that ask destinations whether they keep what they took, each in the way that its entry says."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

import structlog

from dicom_gateway.commitment.peers import CommitmentPeers
from dicom_gateway.commitment.querying import HoldingsQuery
from dicom_gateway.commitment.report_takers import ReportTakers, asked_address
from dicom_gateway.destinations import Destination, parse_address
from dicom_gateway.errors import PeerRejectedObject, SourceAnswerInvalid, SourceRefused
from storage import destinations
from storage.commitment import proofs
from storage.commitment.proofs import Cause, Inquiry, Terms
from storage.commitment.references import Reference
from storage.database import Database
from storage.destinations import DestinationEntry
from storage.errors import OncueError
from storage.proof_ways import ProofWay

_MOST = {ProofWay.COMMITMENT: 300, ProofWay.QUERY: 100}
"""Objects of one request; of a query each series is a question of its own."""
LOOKS = 3
"""A destination that shows no object at the first look may not have read it yet: so often it is looked for."""
_AT_ONCE = 4
_ANSWERS = (SourceRefused, SourceAnswerInvalid)

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ProofRounds:
    """Asks destinations for what is due, several at once."""

    database: Database
    speaker: CommitmentPeers
    query: HoldingsQuery
    takers: ReportTakers
    clock: Callable[[], datetime]

    def run(self) -> float | None:
        """Ask for what is due; return in how many seconds something is due next, None for nothing."""
        self._end_overdue()
        due = [entry for entry, at in self._waiting() if at <= self.clock()]
        if due:
            with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="proof") as threads:
                list(threads.map(self._prove, due))
        with self.database.read() as session:
            overdue_at = proofs.overdue_at(session)
        times = [at for _, at in self._waiting()] + ([] if overdue_at is None else [overdue_at])
        return max((min(times) - self.clock()).total_seconds(), 0.0) if times else None

    def _end_overdue(self) -> None:
        with self.database.read() as session:
            overdue_at = proofs.overdue_at(session)
        if overdue_at is not None and overdue_at <= self.clock():
            with self.database.write() as session:
                ended = proofs.end_overdue(session, now=self.clock())
            logger.warning("proof.unanswered", objects=ended)

    def _waiting(self) -> list[tuple[DestinationEntry, datetime]]:
        """Return the destinations that are to be asked at some time; what nobody wants any more is withdrawn."""
        with self.database.read() as session:
            names = proofs.destinations(session)
            entries = {entry.name: entry for entry in destinations.entries(session)} if names else {}
            wanted = [entries[name] for name in names if name in entries and _is_proving(entries[name])]
            now = self.clock()
            times = [(one, proofs.due_at(session, one.name, now=now)) for one in wanted if not one.paused]
        self._withdraw(set(names) - {one.name for one in wanted})
        return [(entry, at) for entry, at in times if at is not None]

    def _withdraw(self, names: Iterable[str]) -> None:
        for name in names:
            with self.database.write() as session:
                proofs.withdraw(session, name, now=self.clock())

    def _prove(self, entry: DestinationEntry) -> None:
        terms = Terms(entry.proof, f"2.25.{uuid.uuid4().int}", _MOST[entry.proof])
        with self.database.write() as session:
            inquiry = proofs.claim(session, entry.name, terms, now=self.clock())
        if inquiry is None:
            return
        log = logger.bind(destination=entry.name, way=entry.proof.value, objects=len(inquiry.objects))
        try:
            self._ask(entry, inquiry)
        except OncueError as error:
            log.warning("proof.not_asked", code=error.code, reason=str(error))
            self._settle(entry, inquiry, error)
        else:
            log.info("proof.asked")

    def _ask(self, entry: DestinationEntry, inquiry: Inquiry) -> None:
        address = parse_address(asked_address(entry))
        if entry.proof is ProofWay.COMMITMENT and isinstance(address, Destination):
            named = tuple(Reference(one.sop_class_uid, one.sop_instance_uid) for one in inquiry.objects)
            take = partial(self.takers.take, reporter=address.ae_title)
            self.speaker.ask(address, inquiry.transaction_uid, named, take=take)
            return
        own = entry.proof_address is None and entry.credentials is not None
        credentials = Path(entry.credentials) if own and entry.credentials else None
        kept = self.query.kept(address, inquiry.objects, credentials=credentials)
        there = [one.delivery_id for one in inquiry.objects if one.sop_instance_uid in kept]
        gone = [one.delivery_id for one in inquiry.objects if one.sop_instance_uid not in kept]
        cause = Cause(
            "object_not_found", f"{entry.name} took the object, and does not show it where it is asked for it"
        )
        with self.database.write() as session:
            proofs.committed(session, there, now=self.clock())
            proofs.missing(session, gone, cause, looks=LOOKS, now=self.clock())

    def _settle(self, entry: DestinationEntry, inquiry: Inquiry, error: OncueError) -> None:
        """Put on record that a destination was not asked: for now, or for good."""
        ids = [one.delivery_id for one in inquiry.objects]
        reason = str(error)
        if isinstance(error, PeerRejectedObject) and entry.proof is ProofWay.COMMITMENT:
            reason += "; one without storage commitment is asked by --proof query"
        cause = Cause(error.code, reason)
        with self.database.write() as session:
            if isinstance(error, _ANSWERS):
                proofs.unclear(session, ids, cause, now=self.clock())
            elif error.retryable:
                proofs.put_off(session, inquiry, cause, now=self.clock())
            else:
                proofs.failed(session, ids, cause, now=self.clock())


def _is_proving(entry: DestinationEntry) -> bool:
    return entry.proof is not ProofWay.NONE
