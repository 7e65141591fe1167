"""TLS on the receiving side, with DCMTK, Orthanc and openssl as callers."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import ssl
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from structlog.testing import capture_logs

from dicom_gateway.config import GatewaySettings
from dicom_gateway.errors import CertificateUnusable
from dicom_gateway.tls.doors import Door, Secured, server_doors
from storage.database import Database
from storage.objects import ObjectStore
from tests.support.certificates import Authority, Issued
from tests.support.gateways import running_gateway, until
from tests.support.peers import echoscu, orthanc, storescu
from tests.support.secured_gateways import Certificates, SecuredGateway, secured_gateway
from tests.support.senders import ct_image, echoes

pytestmark = [pytest.mark.slow, pytest.mark.peer]

Secure = Callable[..., contextlib.AbstractContextManager[SecuredGateway]]


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    folder = tmp_path / "certificates"
    folder.mkdir()
    return Certificates.make(folder)


@pytest.fixture
def secured(sqlite_database: Database, objects: ObjectStore, certificates: Certificates) -> Secure:
    """Return how to run a gateway with a TLS listener."""
    return lambda *arguments, **settings: secured_gateway(
        sqlite_database, objects, certificates, *arguments, **settings
    )


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image.dcm"
    ct_image().save_as(path, enforce_file_format=True)
    return path


def faults(logged: Sequence[Mapping[str, Any]]) -> list[Any]:
    return [entry["code"] for entry in logged if entry["event"] == "connection.not_secured"]


def test_images_arrive_over_tls_with_certificates_on_both_sides(secured: Secure, image: Path) -> None:
    with secured() as gateway:
        assert gateway.echoes()
        assert gateway.takes(image)
        assert len(gateway.running.instances()) == 1
        assert echoscu("ONCUE", gateway.running.port).returncode == 0, "the plain port stays beside it"


def test_orthanc_sends_over_tls(secured: Secure, image: Path, tmp_path: Path, certificates: Certificates) -> None:
    with secured() as gateway:
        peer = {"AET": "ONCUE", "Host": "127.0.0.1", "Port": gateway.port, "UseDicomTls": True}
        tls: dict[str, Any] = {
            "DicomTlsCertificate": str(certificates.caller.certificate),
            "DicomTlsPrivateKey": str(certificates.caller.key),
            "DicomTlsTrustedCertificates": str(certificates.authority.certificate),
        }
        with orthanc(tmp_path, **tls) as sender:
            sender.rest("PUT", "/modalities/oncue", _json(peer))
            sender.rest("POST", "/instances", image.read_bytes())
            (instance,) = sender.get("/instances")
            sender.rest("POST", "/modalities/oncue/store", _json(instance))
        assert len(gateway.running.instances()) == 1


def test_a_caller_without_a_certificate_is_refused_where_one_is_required(
    secured: Secure, certificates: Certificates
) -> None:
    with capture_logs() as logged, secured() as gateway:
        assert not gateway.echoes(*certificates.anonymous())
        assert gateway.echoes()
    assert faults(logged) == ["certificate_missing"]


def test_a_caller_without_a_certificate_is_let_in_where_one_is_optional_and_a_foreign_one_is_not(
    secured: Secure, certificates: Certificates, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path, "stranger").issue("modality.example")
    with capture_logs() as logged, secured("optional") as gateway:
        assert gateway.echoes(*certificates.anonymous())
        assert not gateway.echoes(*certificates.options(stranger))
    assert faults(logged) == ["certificate_untrusted"]


def test_no_certificate_is_asked_for_where_none_is_wanted(secured: Secure, certificates: Certificates) -> None:
    wanted = "Requested Signature Algorithms"
    with secured("none", tls_callers_ca=None) as gateway:
        assert gateway.echoes(*certificates.anonymous())
        assert wanted not in gateway.openssl("-tls1_3").stdout
    with secured("optional") as gateway:
        assert wanted in gateway.openssl("-tls1_3").stdout


def test_certificates_of_another_authority_and_expired_ones_are_refused(
    secured: Secure, certificates: Certificates, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path, "stranger").issue("modality.example")
    expired = certificates.authority.issue("late.example", days=-1)
    with capture_logs() as logged, secured() as gateway:
        assert not gateway.echoes(*certificates.options(stranger))
        assert not gateway.echoes(*certificates.options(expired))
        assert gateway.echoes()
    assert faults(logged) == ["certificate_untrusted", "certificate_expired"]


@pytest.mark.parametrize("encoding", [Encoding.PEM, Encoding.DER])
def test_a_revoked_certificate_is_refused_and_others_of_its_issuer_are_not(
    secured: Secure, certificates: Certificates, encoding: Encoding
) -> None:
    lost = certificates.authority.issue("lost.example")
    revoked = certificates.authority.revoke(lost, encoding=encoding)
    with capture_logs() as logged, secured(tls_callers_crl=revoked) as gateway:
        assert not gateway.echoes(*certificates.options(lost))
        assert gateway.echoes()
    assert faults(logged) == ["certificate_revoked"]


def test_revocation_lists_count_once_they_are_renewed_and_an_old_one_lets_nobody_in(
    secured: Secure, certificates: Certificates
) -> None:
    revoked = certificates.authority.revoke(days=-1)
    with capture_logs() as logged, secured(tls_callers_crl=revoked) as gateway:
        assert not gateway.echoes()
        certificates.authority.revoke()
        assert gateway.echoes()
        certificates.authority.revoke(certificates.caller)
        assert not gateway.echoes()
    assert faults(logged) == ["revocation_unknown", "certificate_revoked"]


def test_plain_dicom_at_the_tls_port_and_tls_at_the_plain_port_end_at_once(
    secured: Secure, certificates: Certificates
) -> None:
    with capture_logs() as logged, secured() as gateway:
        assert echoscu("ONCUE", gateway.port).returncode != 0
        plain = gateway.running.port
        assert echoscu("ONCUE", plain, options=certificates.options()).returncode != 0
        assert echoes(plain)
        assert gateway.echoes()
    assert faults(logged) == ["not_tls"]
    refused = {entry["code"] for entry in logged if entry["event"] == "connection.ended"}
    assert refused & {"not_an_association_request", "unrecognized_pdu"}, "a handshake is no PDU"


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (("-tls1_1", "-cipher", "ALL:@SECLEVEL=0"), "tls_too_old"),
        (("-tls1_2", "-cipher", "AES128-SHA256"), "no_shared_suite"),
        (("-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA256"), "no_shared_suite"),
    ],
)
def test_what_bcp_195_rules_out_is_refused(secured: Secure, options: tuple[str, ...], code: str) -> None:
    with capture_logs() as logged, secured("none") as gateway:
        assert gateway.openssl(*options).returncode != 0
        until(lambda: faults(logged) == [code], f"a log line with {code}")


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_tls_1_2_and_1_3_are_spoken_and_sessions_are_not_resumed(
    secured: Secure, certificates: Certificates, version: str
) -> None:
    pair = ("-cert", certificates.caller.certificate, "-key", certificates.caller.key)
    with secured() as gateway:
        shaken = gateway.openssl(version, "-CAfile", certificates.authority.certificate, *pair)
    assert "Verification: OK" in shaken.stdout
    assert "TLS session ticket:" not in shaken.stdout


def test_a_renewed_certificate_is_shown_without_a_restart_and_a_bad_one_never(
    secured: Secure, certificates: Certificates
) -> None:
    renewed = certificates.authority.issue("renewed.example", address="127.0.0.1")
    with capture_logs() as logged, secured() as gateway:
        certificates.gateway.certificate.write_text("no certificate")
        assert gateway.echoes(), "the certificate from before stays in use"
        assert gateway.echoes()
        shutil.copy(renewed.certificate, certificates.gateway.certificate)
        shutil.copy(renewed.key, certificates.gateway.key)
        assert "renewed.example" in gateway.openssl().stdout
    kept = [entry for entry in logged if entry["event"] == "certificates.not_reloaded"]
    assert [entry["code"] for entry in kept] == ["certificate_unusable"], "said once for each state of the files"
    assert str(certificates.gateway.certificate) in str(kept[0]["reason"])


def test_a_silent_caller_at_the_tls_port_holds_nobody_up_and_gives_way(secured: Secure) -> None:
    with secured(maximum_half_open_per_address=2) as gateway, contextlib.ExitStack() as opened:
        silent = [opened.enter_context(_connected(gateway.port)) for _ in range(8)]
        assert gateway.echoes()
        assert silent[0].recv(1) == b"", "the oldest was closed although its handshake had begun"


def test_a_handshake_that_never_ends_is_cut(secured: Secure) -> None:
    with secured(acse_seconds=0.3) as gateway, _connected(gateway.port) as caller:
        caller.sendall(b"\x16\x03\x01")
        assert caller.recv(1) == b""


def test_a_handshake_that_drips_is_cut_whatever_little_comes(secured: Secure) -> None:
    with secured(acse_seconds=0.3) as gateway, _connected(gateway.port) as caller:
        caller.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        caller.settimeout(0.05)
        assert any(_is_closed_after(caller, b"\x00") for _ in range(500))


def test_repeated_failures_of_one_caller_write_one_line(secured: Secure) -> None:
    with capture_logs() as logged, secured() as gateway:
        for _ in range(5):
            with _connected(gateway.port) as caller:
                caller.sendall(b"GET / HTTP/1.1\r\n\r\n")
                with contextlib.suppress(ConnectionResetError):
                    while caller.recv(100):
                        pass
        assert gateway.echoes()
    assert faults(logged) == ["not_tls"]


def test_no_descriptor_and_no_thread_is_left_of_connections_that_came_and_went(secured: Secure) -> None:
    with secured() as gateway:
        assert gateway.echoes()
        before = _connections()
        for _ in range(10):
            _connected(gateway.port).close()
            assert gateway.echoes()
        until(lambda: _connections() <= before, "all connections closed")


def test_the_names_of_the_callers_certificate_are_handed_on(certificates: Certificates) -> None:
    door = _tls_door(certificates, "required")
    assert _secured(door, certificates, certificates.caller).certificate_names == ("modality.example",)
    assert _secured(_tls_door(certificates, "optional"), certificates, None).certificate_names == ()


def test_an_encrypted_key_is_opened_with_its_password(certificates: Certificates) -> None:
    right, wrong = "open sesame", "open barley"
    locked = certificates.authority.issue("locked.example", password=right)
    files: dict[str, Any] = {"tls_certificate": locked.certificate, "tls_key": locked.key}
    assert len(server_doors(GatewaySettings(**certificates.settings(**files, tls_key_password=right)))) == 2
    with pytest.raises(CertificateUnusable, match=r"set gateway\.tls_key_password"):
        server_doors(GatewaySettings(**certificates.settings(**files)))
    with pytest.raises(CertificateUnusable, match="password is another one"):
        server_doors(GatewaySettings(**certificates.settings(**files, tls_key_password=wrong)))


@pytest.mark.parametrize(
    ("setting", "content", "complaint"),
    [
        ("tls_certificate", None, "cannot be read"),
        ("tls_certificate", "no PEM", "is not a certificate in PEM form"),
        ("tls_key", "no PEM", "no private key"),
        ("tls_callers_ca", "no PEM", "is not a certificate in PEM form"),
        ("tls_callers_crl", "no PEM", "is not a revocation list"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_at_the_start(
    certificates: Certificates, tmp_path: Path, setting: str, content: str | None, complaint: str
) -> None:
    path = tmp_path / "bad.pem"
    if content is not None:
        path.write_text(content)
    chosen: dict[str, Any] = {setting: path}
    settings = GatewaySettings(**certificates.settings(**chosen))
    with pytest.raises(CertificateUnusable, match=complaint) as raised:
        server_doors(settings)
    assert str(path) in str(raised.value)


def test_a_key_of_another_certificate_is_refused(certificates: Certificates) -> None:
    settings = GatewaySettings(**certificates.settings(tls_key=certificates.caller.key))
    with pytest.raises(CertificateUnusable, match="is not the private key of"):
        server_doors(settings)


def test_further_plain_ports_need_no_certificate(sqlite_database: Database, objects: ObjectStore, image: Path) -> None:
    with running_gateway(sqlite_database, objects, listeners=({"port": 0, "tls": False},)) as running:
        _, second = running.gateway.ports
        assert storescu("ONCUE", second, image).returncode == 0
        assert len(running.instances()) == 1


def _is_closed_after(caller: socket.socket, piece: bytes) -> bool:
    """Send a piece and wait a moment; say whether the other side has ended the connection."""
    try:
        caller.sendall(piece)
        return caller.recv(1) == b""
    except TimeoutError:
        return False
    except ConnectionError:
        return True


def _connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=30)


def _tls_door(certificates: Certificates, client_certificates: str) -> Door:
    return server_doors(GatewaySettings(**certificates.settings(client_certificates)))[1]


def _secured(door: Door, certificates: Certificates, pair: Issued | None) -> Secured:
    """Shake hands through a door over a pair of sockets, from a thread of its own."""
    assert door.secure is not None
    context = ssl.create_default_context(cafile=certificates.authority.certificate)
    if pair is not None:
        context.load_cert_chain(pair.certificate, pair.key)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        calling = socket.create_connection(listening.getsockname(), timeout=30)
        accepted, _ = listening.accept()
        accepted.settimeout(30)

        def call() -> None:
            with context.wrap_socket(calling, server_hostname="localhost") as secured:
                secured.recv(1)

        thread = threading.Thread(target=call)
        thread.start()
        with accepted:
            secured = door.secure(accepted)
            secured.connection.close()
        thread.join()
    return secured


def _connections() -> int:
    """Return how many sockets this process has open; files of the database come and go with the gateway's loops."""
    found = 0
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found += str(entry.readlink()).startswith("socket:")
    return found


def _json(value: object) -> bytes:
    return json.dumps(value).encode()
