"""A daily word in the log while a certificate expires soon, has expired, or cannot be used."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import structlog

from dicom_gateway.config import GatewaySettings
from dicom_gateway.tls.inventory import InventoryItem, Validity, configured

DAY_SECONDS = 24 * 3600.0
_CODES = {
    Validity.EXPIRES_SOON: "certificate_expires_soon",
    Validity.EXPIRED: "certificate_expired",
    Validity.NOT_YET_VALID: "certificate_not_yet_valid",
    Validity.UNUSABLE: "certificate_unusable",
}

logger = structlog.get_logger(__name__)


class ExpiryWatch:
    """Looks at the certificates and revocation lists of the settings; ``clock`` says what time it is."""

    def __init__(self, settings: GatewaySettings, clock: Callable[[], datetime]) -> None:
        self._settings = settings
        self._clock = clock

    def look(self) -> None:
        """Log each that does not simply hold."""
        for item in configured(self._settings, now=self._clock()):
            if item.validity is not Validity.VALID:
                _tell(item)


def _tell(item: InventoryItem) -> None:
    logger.warning(
        "certificates.need_care",
        code=_CODES[item.validity],
        used_as=item.used_as,
        kind=item.kind.value,
        file=str(item.file),
        until=None if item.until is None else item.until.isoformat(),
        reason=item.problem,
    )
