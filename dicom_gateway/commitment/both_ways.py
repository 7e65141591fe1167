"""Storage commitment of one gateway: the service that peers reach, and the loops of what follows later."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

from dicom_gateway.commitment.information import PUSH_MODEL
from dicom_gateway.commitment.peers import CommitmentPeers
from dicom_gateway.commitment.proving import ProofRounds
from dicom_gateway.commitment.querying import HoldingsQuery
from dicom_gateway.commitment.report_takers import ReportTakers
from dicom_gateway.commitment.reporting import ReportRounds
from dicom_gateway.commitment.service import CommitmentService, Vouching
from dicom_gateway.loops import Loop
from dicom_gateway.sending.associations import PeerTimeouts
from dicom_gateway.tls.destination_handshake import DestinationTls
from storage.database import Database

_PATIENCE = PeerTimeouts(connect_seconds=5.0, associate_seconds=10.0, answer_seconds=30.0)
_QUERY_SECONDS = 60.0


class StorageCommitment:
    """Vouches for what was received, and has destinations vouch for what they took."""

    def __init__(
        self,
        database: Database,
        vouching: Vouching,
        tls: DestinationTls,
        clock: Callable[[], datetime],
        *,
        slowest_seconds: float,
    ) -> None:
        """``slowest_seconds`` is how long rounds that nobody wakes take to notice."""
        takers, speaker = ReportTakers(database, clock), CommitmentPeers(vouching.aet, _PATIENCE, tls)
        self._reports = Loop("commitment", ReportRounds(vouching, speaker).run, seconds=slowest_seconds)
        query = HoldingsQuery(vouching.aet, _QUERY_SECONDS, tls)
        rounds = ProofRounds(database, speaker, query, takers, clock)
        self._proofs = Loop("proofs", rounds.run, seconds=slowest_seconds)
        self._service = CommitmentService(vouching, takers, on_hand_over=self._reports.wake)

    @property
    def loops(self) -> tuple[Loop, ...]:
        """The loops, to be started and stopped."""
        return self._reports, self._proofs

    def services(self) -> Mapping[str, CommitmentService]:
        """Return the service by the SOP class that it is negotiated with."""
        return {PUSH_MODEL: self._service}

    def wake(self) -> None:
        """Look for what is due now."""
        for loop in self.loops:
            loop.wake()

    def stop_waiting(self) -> None:
        """Have associations wait no longer for images that may still come."""
        self._service.stop()
