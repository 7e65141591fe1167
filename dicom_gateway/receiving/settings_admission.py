"""Admission by the settings alone: AE titles, and the lane of each."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from ipaddress import ip_address

import structlog

from dicom_gateway.config import GatewaySettings
from dicom_gateway.errors import GatewayError
from dicom_gateway.receiving.admission import Admitted, Caller, Refused, RejectReason
from dicom_gateway.receiving.store_request import refusal_code
from storage import associations
from storage.database import Database
from storage.errors import StorageError
from storage.peers import Service

_REASONS = {"called_aet_unknown": RejectReason(1, 1, 7), "calling_aet_unknown": RejectReason(1, 1, 3)}
_NOTE_EVERY = timedelta(minutes=10)
_MOST_NOTED = 1000

logger = structlog.get_logger(__name__)


class SettingsAdmission:
    """Admits the calling AE titles of ``allowed_aets``, or any where there are none."""

    def __init__(self, database: Database, settings: GatewaySettings, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._settings = settings
        self._clock = clock
        self._lock = threading.Lock()
        self._noted: dict[tuple[Caller, str], datetime] = {}

    def admit(self, caller: Caller) -> Admitted | Refused:
        """Decide by the two AE titles."""
        code = refusal_code(
            caller.calling_aet,
            caller.called_aet,
            own_aet=self._settings.aet,
            allowed_aets=self._settings.allowed_aets,
        )
        if code is not None:
            return Refused(code, _REASONS[code])
        lane = self._settings.lane(caller.calling_aet)
        return Admitted(caller, caller.calling_aet, lane, frozenset(Service), None)

    def is_known_address(self, address: str) -> bool:
        """Say whether an address is the machine's own, or in networks that were named, or anybody may send."""
        named = bool(self._settings.allowed_networks) or not self._settings.allowed_aets
        return named or ip_address(address.partition("%")[0]).is_loopback

    def charge(self, _admitted: Admitted, _size_bytes: int) -> GatewayError | None:
        """Return None: the settings know no quotas."""
        return None

    def note_refusal(self, caller: Caller, refused: Refused) -> None:
        """Log and record a refusal, the same one once in ten minutes."""
        if not self._is_due(caller, refused.code):
            return
        logger.warning(
            "association.refused",
            code=refused.code,
            calling_aet=caller.calling_aet,
            called_aet=caller.called_aet,
            address=caller.address,
        )
        try:
            with self._database.write() as session:
                associations.refused(
                    session,
                    calling_aet=caller.calling_aet,
                    called_aet=caller.called_aet,
                    remote_address=caller.address,
                    code=refused.code,
                    now=self._clock(),
                )
        except StorageError as error:
            logger.warning("association.not_recorded", code=error.code)

    def _is_due(self, caller: Caller, code: str) -> bool:
        now = self._clock()
        with self._lock:
            self._noted = {key: when for key, when in self._noted.items() if now - when < _NOTE_EVERY}
            if (caller, code) in self._noted or len(self._noted) >= _MOST_NOTED:
                return False
            self._noted[caller, code] = now
            return True
