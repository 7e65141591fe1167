"""What all parts of one gateway share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from dicom_gateway.config import GatewaySettings
from dicom_gateway.sending.associations import PeerTimeouts
from dicom_gateway.tls.destination_handshake import DestinationTls
from storage.database import Database
from storage.objects import ObjectStore

_POLLS_PER_ROUND = 10


@dataclass(frozen=True, slots=True)
class Premises:
    """Settings, database, objects and clock of a gateway, the name of its process, and TLS with its destinations."""

    settings: GatewaySettings
    database: Database
    objects: ObjectStore
    clock: Callable[[], datetime]
    process_id: str
    tls: DestinationTls

    @property
    def timeouts(self) -> PeerTimeouts:
        """How long a peer is waited for."""
        return PeerTimeouts(
            connect_seconds=self.settings.connect_seconds,
            associate_seconds=self.settings.acse_seconds,
            answer_seconds=self.settings.answer_seconds,
        )

    @property
    def slowest_seconds(self) -> float:
        """How long a loop waits for what nobody tells of: it is woken where there is something for it to do."""
        return self.settings.delivery_poll_seconds * _POLLS_PER_ROUND
