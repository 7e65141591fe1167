"""How TLS is spoken, by BCP 195 (RFC 8996, RFC 9325), which PS3.15 B.12 asks for.

TLS 1.2 with forward secrecy and authenticated encryption, TLS 1.3, nothing older; no renegotiation, no compression,
and no resumption, which would pass over a revocation list that was read since.
"""

from __future__ import annotations

import ssl
import tempfile
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

from dicom_gateway.config import ClientCertificates, GatewaySettings
from dicom_gateway.errors import CertificateUnusable
from dicom_gateway.tls.pem_files import check_pair, read_certificates, read_revocation_lists

_TLS_1_2_SUITES = "ECDHE+AESGCM:ECDHE+CHACHA20:@SECLEVEL=2"
_VERIFY_MODES = {
    ClientCertificates.REQUIRED: ssl.CERT_REQUIRED,
    ClientCertificates.OPTIONAL: ssl.CERT_OPTIONAL,
    ClientCertificates.NONE: ssl.CERT_NONE,
}


def server_context(settings: GatewaySettings, client_certificates: ClientCertificates) -> ssl.SSLContext:
    """Return how a listener speaks TLS; CertificateUnusable where a file of the settings cannot be used."""
    context = _context(ssl.PROTOCOL_TLS_SERVER)
    context.num_tickets = 0
    _show_own_certificate(context, settings)
    context.verify_mode = _VERIFY_MODES[client_certificates]
    if client_certificates is not ClientCertificates.NONE:
        _trust(context, settings.tls_callers_ca, settings.tls_callers_crl)
    return context


def client_context(settings: GatewaySettings) -> ssl.SSLContext:
    """Return how destinations are spoken to: their certificate and its name are verified, ours is shown where set.

    CertificateUnusable where a file of the settings cannot be used.
    """
    context = _context(ssl.PROTOCOL_TLS_CLIENT)
    _show_own_certificate(context, settings)
    if settings.tls_destinations_ca is None:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    _trust(context, settings.tls_destinations_ca, settings.tls_destinations_crl)
    return context


def server_files(settings: GatewaySettings) -> tuple[Path, ...]:
    """Return the files that ``server_context`` reads."""
    named = (settings.tls_certificate, settings.tls_key, settings.tls_callers_ca, settings.tls_callers_crl)
    return tuple(path for path in named if path is not None)


def client_files(settings: GatewaySettings) -> tuple[Path, ...]:
    """Return the files that ``client_context`` reads."""
    named = (settings.tls_certificate, settings.tls_key, settings.tls_destinations_ca, settings.tls_destinations_crl)
    return tuple(path for path in named if path is not None)


def _context(protocol: ssl._SSLMethod) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_TLS_1_2_SUITES)
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    # Who is named among the trusted is trusted: also an issuer that is no root, and a peer's own certificate.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


def _show_own_certificate(context: ssl.SSLContext, settings: GatewaySettings) -> None:
    certificate = settings.tls_certificate
    if certificate is None:
        return
    key = settings.tls_key or certificate
    password = settings.tls_key_password.get_secret_value()
    check_pair(certificate, key, password)
    # Always a password: without one, OpenSSL would ask for it on the terminal.
    _loaded(certificate, lambda: context.load_cert_chain(certificate, key, lambda: password))


def _trust(context: ssl.SSLContext, authorities: Path | None, revocations: Path | None) -> None:
    if authorities is not None:
        read_certificates(authorities)
        _loaded(authorities, lambda: context.load_verify_locations(authorities))
    if revocations is not None:
        _load_revocations(context, revocations)
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN


def _load_revocations(context: ssl.SSLContext, path: Path) -> None:
    """Load revocation lists, which ssl takes from a file in PEM form alone."""
    lists = read_revocation_lists(path)
    with tempfile.NamedTemporaryFile(suffix=".pem") as copy:
        copy.write(b"".join(one.public_bytes(Encoding.PEM) for one in lists))
        copy.flush()
        _loaded(path, lambda: context.load_verify_locations(copy.name))


def _loaded(path: Path, load: Callable[[], None]) -> None:
    try:
        load()
    except OSError as error:  # ssl.SSLError among them: a key that is too short, for one
        reason = getattr(error, "reason", None) or error.strerror or "no reason given"
        raise CertificateUnusable(f"{path} cannot be used for TLS: {reason}") from error
