"""What the trial's authority issues holds for openssl and for both sides of a gateway."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from dicom_gateway.config import GatewaySettings
from dicom_gateway.destinations import Destination
from dicom_gateway.errors import CertificateUnusable
from dicom_gateway.sending.verifying import echo
from dicom_gateway.tls.destination_handshake import DestinationTls
from dicom_gateway.tls.pem_files import names_of, read_certificates
from dicom_gateway.tls.trial_authority import TrialAuthority
from storage.database import Database, utc_now
from storage.objects import ObjectStore
from tests.support.gateways import running_gateway
from tests.support.peers import echoscu, executable, run

pytestmark = [pytest.mark.slow]


@pytest.mark.peer
def test_a_gateway_and_its_callers_meet_with_what_was_issued(
    tmp_path: Path, sqlite_database: Database, objects: ObjectStore
) -> None:
    authority = TrialAuthority.open(tmp_path / "certificates", now=utc_now())
    server = authority.issue_server(["localhost", "127.0.0.1"], now=utc_now())
    client = authority.issue_client("CT 1", now=utc_now())
    settings: dict[str, Any] = {
        "listeners": ({"port": 0},),
        "tls_certificate": server.certificate,
        "tls_key": server.key,
        "tls_callers_ca": authority.certificate,
    }
    with running_gateway(sqlite_database, objects, **settings) as running:
        port = running.gateway.ports[1]
        options = ("+tls", client.key, client.certificate, "+cf", authority.certificate)
        assert echoscu("ONCUE", port, options=options).returncode == 0
        own = GatewaySettings(
            tls_certificate=server.certificate, tls_key=server.key, tls_destinations_ca=authority.certificate
        )
        for host in ("localhost", "127.0.0.1"):
            answer = echo(Destination("ONCUE", host, port, tls=True), tls=DestinationTls(own))
            assert answer.answered, answer.reason
    for pair, purpose in ((server, "sslserver"), (server, "sslclient"), (client, "sslclient")):
        checked = run(
            executable("openssl"),
            "verify",
            "-x509_strict",
            "-purpose",
            purpose,
            "-CAfile",
            authority.certificate,
            pair.certificate,
        )
        assert checked.returncode == 0, checked.stdout


def test_keys_are_readable_by_their_owner_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        authority = TrialAuthority.open(tmp_path / "certificates", now=utc_now())
        pair = authority.issue_client("../CT/1", now=utc_now())
    finally:
        os.umask(before)
    assert pair.key.parent == authority.folder, "an AE title with slashes stays in the folder"
    assert (authority.folder.stat().st_mode & 0o777) == 0o700
    assert {path.stat().st_mode & 0o777 for path in authority.folder.glob("*.key")} == {0o600}


def test_pairs_stay_as_they_are_until_they_are_renewed(tmp_path: Path) -> None:
    authority = TrialAuthority.open(tmp_path, now=utc_now())
    first = authority.issue_server(["one.example"], now=utc_now())
    kept = TrialAuthority.open(tmp_path, now=utc_now()).issue_server(["two.example"], now=utc_now())
    assert (first.made, kept.made) == (True, False)
    assert names_of(read_certificates(kept.certificate)[0]) == ("one.example",)
    later = utc_now() + timedelta(days=300)
    renewed = authority.issue_server(["two.example"], now=later, renew=True)
    (certificate,) = read_certificates(renewed.certificate)
    assert names_of(certificate) == ("two.example",)
    assert certificate.not_valid_after_utc > later + timedelta(days=300)


def test_an_authority_whose_key_is_gone_is_not_quietly_replaced(tmp_path: Path) -> None:
    authority = TrialAuthority.open(tmp_path, now=utc_now())
    before = authority.certificate.read_bytes()
    (tmp_path / "ca.key").unlink()
    with pytest.raises(CertificateUnusable, match=r"ca\.key cannot be read"):
        TrialAuthority.open(tmp_path, now=utc_now())
    assert authority.certificate.read_bytes() == before
