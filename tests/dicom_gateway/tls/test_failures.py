"""The log of failed handshakes stays short whoever fails, and says how many were left out."""

from __future__ import annotations

import ssl

from structlog.testing import capture_logs

from dicom_gateway.tls.failures import MEANINGS, FailureLog, HandshakeFault, explained, fault_of


def failed(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, reason)
    error.reason = reason
    return error


def test_each_address_and_fault_is_said_once_in_a_window_and_the_rest_is_counted() -> None:
    seconds = [0.0]
    log = FailureLog(lambda: seconds[0])
    with capture_logs() as logged:
        for _ in range(3):
            log.note(failed("WRONG_VERSION_NUMBER"), address="10.0.0.1", port=2762)
            log.note(failed("NO_SHARED_CIPHER"), address="10.0.0.1", port=2762)
        seconds[0] = 601.0
        log.note(failed("WRONG_VERSION_NUMBER"), address="10.0.0.1", port=2762)
    assert [entry["code"] for entry in logged] == ["not_tls", "no_shared_suite", "handshakes_counted", "not_tls"]
    assert logged[2]["count"] == 4


def test_many_addresses_do_not_fill_the_log_either() -> None:
    log = FailureLog(lambda: 0.0)
    with capture_logs() as logged:
        for number in range(5000):
            log.note(failed("HTTP_REQUEST"), address=f"10.0.{number // 256}.{number % 256}", port=2762)
    assert len(logged) == 100


def test_every_fault_has_its_meaning_and_an_unknown_one_keeps_the_librarys_words() -> None:
    assert set(MEANINGS) == set(HandshakeFault)
    unknown = failed("BAD_RECORD_TYPE")
    assert fault_of(unknown) is HandshakeFault.HANDSHAKE_FAILED
    assert "bad record type" in explained(unknown)
