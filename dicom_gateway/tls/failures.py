"""Why TLS handshakes fail, in words that say what to do, and a log of it that no peer can fill."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Mapping
from enum import StrEnum

import structlog

_WINDOW_SECONDS = 600.0
_LINES_PER_WINDOW = 100

logger = structlog.get_logger(__name__)


class HandshakeFault(StrEnum):
    """What went wrong in a handshake; the values are the codes of log events."""

    NOT_TLS = "not_tls"
    TLS_TOO_OLD = "tls_too_old"
    NO_SHARED_SUITE = "no_shared_suite"
    CERTIFICATE_MISSING = "certificate_missing"
    CERTIFICATE_EXPIRED = "certificate_expired"
    CERTIFICATE_REVOKED = "certificate_revoked"
    CERTIFICATE_UNTRUSTED = "certificate_untrusted"
    CERTIFICATE_NAME = "certificate_name"
    REVOCATION_UNKNOWN = "revocation_unknown"
    REFUSED_BY_PEER = "refused_by_peer"
    HANDSHAKE_FAILED = "handshake_failed"


MEANINGS: Mapping[HandshakeFault, str] = {
    HandshakeFault.NOT_TLS: "the other side does not speak TLS here; check port and TLS setting on both sides",
    HandshakeFault.TLS_TOO_OLD: "the other side speaks only TLS versions before 1.2, which are not secure; update it",
    HandshakeFault.NO_SHARED_SUITE: (
        "no cipher suite in common: the other side must offer TLS 1.3, or ECDHE with AES-GCM or ChaCha20 (BCP 195)"
    ),
    HandshakeFault.CERTIFICATE_MISSING: "the other side shows no certificate; give it one that its listener trusts",
    HandshakeFault.CERTIFICATE_EXPIRED: "its certificate has expired, or does not hold yet; renew it, check the clocks",
    HandshakeFault.CERTIFICATE_REVOKED: "its certificate has been revoked by its issuer",
    HandshakeFault.CERTIFICATE_UNTRUSTED: "its certificate was issued by nobody among those trusted here",
    HandshakeFault.CERTIFICATE_NAME: (
        "its certificate names another host; use that name, or set it in gateway.tls_destination_names"
    ),
    HandshakeFault.REVOCATION_UNKNOWN: "no revocation list of its issuer is here, or it is out of date; renew the list",
    HandshakeFault.REFUSED_BY_PEER: "the other side refuses our certificate, or wants one; see its own log",
    HandshakeFault.HANDSHAKE_FAILED: "the handshake failed",
}

_REASONS: Mapping[str, HandshakeFault] = {
    "WRONG_VERSION_NUMBER": HandshakeFault.NOT_TLS,
    "HTTP_REQUEST": HandshakeFault.NOT_TLS,
    "HTTPS_PROXY_REQUEST": HandshakeFault.NOT_TLS,
    "UNKNOWN_PROTOCOL": HandshakeFault.NOT_TLS,
    "PACKET_LENGTH_TOO_LONG": HandshakeFault.NOT_TLS,
    "UNSUPPORTED_PROTOCOL": HandshakeFault.TLS_TOO_OLD,
    "VERSION_TOO_LOW": HandshakeFault.TLS_TOO_OLD,
    "TLSV1_ALERT_PROTOCOL_VERSION": HandshakeFault.TLS_TOO_OLD,
    "NO_SHARED_CIPHER": HandshakeFault.NO_SHARED_SUITE,
    "NO_SUITABLE_SIGNATURE_ALGORITHM": HandshakeFault.NO_SHARED_SUITE,
    "SSLV3_ALERT_HANDSHAKE_FAILURE": HandshakeFault.NO_SHARED_SUITE,
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": HandshakeFault.CERTIFICATE_MISSING,
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": HandshakeFault.REFUSED_BY_PEER,
    "TLSV1_ALERT_UNKNOWN_CA": HandshakeFault.REFUSED_BY_PEER,
    "TLSV1_ALERT_ACCESS_DENIED": HandshakeFault.REFUSED_BY_PEER,
    "TLSV1_ALERT_DECRYPT_ERROR": HandshakeFault.REFUSED_BY_PEER,
    "SSLV3_ALERT_BAD_CERTIFICATE": HandshakeFault.REFUSED_BY_PEER,
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": HandshakeFault.REFUSED_BY_PEER,
    "SSLV3_ALERT_CERTIFICATE_REVOKED": HandshakeFault.REFUSED_BY_PEER,
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": HandshakeFault.REFUSED_BY_PEER,
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": HandshakeFault.REFUSED_BY_PEER,
}
# Codes of X509_verify_cert (openssl/x509_vfy.h).
_VERIFY_CODES: Mapping[int, HandshakeFault] = {
    3: HandshakeFault.REVOCATION_UNKNOWN,
    9: HandshakeFault.CERTIFICATE_EXPIRED,
    10: HandshakeFault.CERTIFICATE_EXPIRED,
    11: HandshakeFault.REVOCATION_UNKNOWN,
    12: HandshakeFault.REVOCATION_UNKNOWN,
    23: HandshakeFault.CERTIFICATE_REVOKED,
    33: HandshakeFault.REVOCATION_UNKNOWN,
    44: HandshakeFault.REVOCATION_UNKNOWN,
    62: HandshakeFault.CERTIFICATE_NAME,
    64: HandshakeFault.CERTIFICATE_NAME,
}


def fault_of(error: ssl.SSLError) -> HandshakeFault:
    """Return what an error of a handshake means."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _VERIFY_CODES.get(error.verify_code, HandshakeFault.CERTIFICATE_UNTRUSTED)
    return _REASONS.get(error.reason or "", HandshakeFault.HANDSHAKE_FAILED)


def explained(error: ssl.SSLError) -> str:
    """Return what a handshake failed of and what to do, with the library's own words where they say more."""
    fault = fault_of(error)
    told = error.verify_message if isinstance(error, ssl.SSLCertVerificationError) else error.reason
    words = str(told or "").replace("_", " ").lower()
    return f"{MEANINGS[fault]} ({words})" if words else MEANINGS[fault]


class FailureLog:
    """Logs failed handshakes: one line for each address and fault in ten minutes, a hundred in all, the rest counted.

    ``now`` is a steady clock in seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._since = now()
        self._told: set[tuple[str, HandshakeFault]] = set()
        self._untold = 0

    def note(self, error: ssl.SSLError, *, address: str, port: int) -> None:
        """Log a failed handshake of an address, or count it where that was said lately."""
        key = (address, fault_of(error))
        with self._lock:
            self._begin_window()
            if key in self._told or len(self._told) >= _LINES_PER_WINDOW:
                self._untold += 1
                return
            self._told.add(key)
        logger.warning("connection.not_secured", code=key[1].value, address=address, port=port, reason=explained(error))

    def _begin_window(self) -> None:
        if self._now() - self._since < _WINDOW_SECONDS:
            return
        if self._untold:
            logger.warning("connection.not_secured_again", code="handshakes_counted", count=self._untold)
        self._since, self._untold = self._now(), 0
        self._told.clear()
