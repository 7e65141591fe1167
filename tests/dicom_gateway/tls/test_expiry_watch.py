"""What the log says of certificates while the gateway runs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from dicom_gateway.config import GatewaySettings
from dicom_gateway.tls.expiry_watch import ExpiryWatch
from storage.database import Database
from storage.objects import ObjectStore
from tests.support.certificates import Authority
from tests.support.gateways import running_gateway, until


@pytest.mark.parametrize(
    ("later", "codes"),
    [
        (timedelta(), []),
        (timedelta(days=80), ["certificate_expires_soon"]),
        (timedelta(days=101), ["certificate_expired"]),
        (timedelta(days=-60), ["certificate_not_yet_valid"]),
    ],
)
def test_the_log_says_when_a_certificate_runs_out(tmp_path: Path, later: timedelta, codes: list[str]) -> None:
    pair = Authority(tmp_path).issue("gateway.example", days=100)
    settings = GatewaySettings(tls_certificate=pair.certificate, tls_key=pair.key)
    with capture_logs() as logged:
        ExpiryWatch(settings, lambda: datetime.now(UTC) + later).look()
    assert [entry["code"] for entry in logged] == codes


def test_a_gateway_says_so_when_it_starts(sqlite_database: Database, objects: ObjectStore, tmp_path: Path) -> None:
    pair = Authority(tmp_path).issue("gateway.example", days=-1)
    files: dict[str, Any] = {"tls_certificate": pair.certificate, "tls_key": pair.key}
    with capture_logs() as logged, running_gateway(sqlite_database, objects, **files):
        until(lambda: "certificate_expired" in [entry.get("code") for entry in logged], "a word on the certificate")
