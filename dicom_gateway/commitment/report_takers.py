"""Who may report on what we sent: the peers that destinations are asked at, by the titles that they call themselves."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import structlog

from dicom_gateway.destinations import Destination, parse_address
from storage import destinations
from storage.commitment import proof_reports
from storage.commitment.proof_reports import CommitmentReport, Taken
from storage.database import Database
from storage.destinations import DestinationEntry
from storage.proof_ways import ProofWay

logger = structlog.get_logger(__name__)


class ReportTakers:
    """Takes reports of destinations, over whichever association they come."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    def take(self, report: CommitmentReport, *, reporter: str) -> bool:
        """Record what a report says; False where nobody asked the reporter, a title, by this transaction."""
        with self._database.write() as session:
            entries = destinations.entries(session)
            of = [entry.name for entry in entries if asked_title(entry) == reporter]
            taken = proof_reports.take(session, report, reporter=reporter, of=of, now=self._clock())
        failures = len(report.failures)
        log = logger.bind(reporter=reporter, transaction=report.transaction_uid, failures=failures)
        if taken is Taken.UNKNOWN:
            log.warning("commitment.report_refused")
        else:
            log.info("commitment.report_taken", how=taken.value)
        return taken is not Taken.UNKNOWN


def asked_address(entry: DestinationEntry) -> str:
    """Return where a destination is asked what it keeps, as text."""
    return entry.proof_address or entry.address


def asked_title(entry: DestinationEntry) -> str | None:
    """Return the title of the peer that a destination is asked at for commitment; None where it is not."""
    if entry.proof is not ProofWay.COMMITMENT:
        return None
    address = parse_address(asked_address(entry))
    return address.ae_title if isinstance(address, Destination) else None
