"""The probe of the certificates: what the settings name, until when it holds, and what the TLS listeners show."""

from __future__ import annotations

import socket
import ssl
import stat
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime

from cryptography.hazmat.primitives.serialization import Encoding

from console.doctor.parts import ExaminedPart, PartHealth
from console.doctor.process_probes import count_alive
from console.installation import Installation
from console.supervision.ports import reachable
from dicom_gateway.config import GatewaySettings, ListenerSettings
from dicom_gateway.errors import CertificateUnusable
from dicom_gateway.tls.contexts import client_context
from dicom_gateway.tls.inventory import InventoryItem, Kind, Validity, configured
from dicom_gateway.tls.pem_files import read_certificates
from storage.database import utc_now

_PATIENCE_SECONDS = 5.0
_HEALTH = {
    Validity.VALID: PartHealth.FINE,
    Validity.EXPIRES_SOON: PartHealth.REMARK,
    Validity.EXPIRED: PartHealth.BROKEN,
    Validity.NOT_YET_VALID: PartHealth.BROKEN,
    Validity.UNUSABLE: PartHealth.BROKEN,
}


def probe_certificates(installation: Installation) -> Iterator[ExaminedPart]:
    """Look at each certificate and revocation list, the private key, and the TLS listeners; say nothing without any."""
    settings, now = installation.settings.gateway, utc_now()
    for item in configured(settings, now=now):
        yield _item(item, now)
    yield from _open_key(settings)
    for listener in settings.listeners:
        if listener.tls:
            yield _listener(listener, installation)


def _item(item: InventoryItem, now: datetime) -> ExaminedPart:
    subject = item.kind.value
    if item.validity is Validity.UNUSABLE:
        detail = f"[{CertificateUnusable.code}] {item.used_as}: {item.problem}; a gateway that runs keeps the last one"
        return ExaminedPart(subject, PartHealth.BROKEN, detail)
    return ExaminedPart(subject, _HEALTH[item.validity], f"{_named(item)} ({item.used_as}) {_lasting(item, now)}")


def _named(item: InventoryItem) -> str:
    return f"of {item.issuer}" if item.kind is Kind.REVOCATION_LIST else ", ".join(item.names)


def _lasting(item: InventoryItem, now: datetime) -> str:
    if item.until is None:
        return "names no end"
    day, days = f"{item.until:%Y-%m-%d}", (item.until - now).days
    if item.validity is Validity.NOT_YET_VALID:
        return "does not hold yet: check the clock of this machine"
    if item.validity is not Validity.EXPIRED:
        return f"holds until {day}, {days} days"
    if item.kind is Kind.REVOCATION_LIST:
        return f"was to be renewed on {day}: nobody of its issuer is let in until {item.file} is"
    return f"expired on {day}: put a new one into {item.file}, which counts at once"


def _open_key(settings: GatewaySettings) -> Iterator[ExaminedPart]:
    """Remark a private key that other users of this machine can read."""
    key = settings.tls_key or settings.tls_certificate
    try:
        mode = key.stat().st_mode if key is not None else 0
    except OSError:
        return  # said of the certificate, which is unusable without it
    if mode & (stat.S_IRGRP | stat.S_IROTH):
        detail = f"{key} can be read by others than its owner (mode {stat.S_IMODE(mode):04o}): chmod 600 it"
        yield ExaminedPart("private key", PartHealth.REMARK, detail)


def _listener(listener: ListenerSettings, installation: Installation) -> ExaminedPart:
    """Look whether a listener shows the certificate that lies in the file."""
    subject, settings = "TLS listener", installation.settings.gateway
    where = f"{listener.host}:{listener.port}"
    if listener.port == 0:
        return ExaminedPart(subject, PartHealth.REMARK, "its port is chosen at each start: give it one for good")
    try:
        shown, version = _shown(listener, settings)
    except ssl.SSLError as error:
        detail = f"{where} does not speak TLS ({error.reason}): another program may hold the port"
        return ExaminedPart(subject, PartHealth.BROKEN, detail)
    except OSError as error:
        if count_alive(installation, "gateway"):
            return ExaminedPart(subject, PartHealth.BROKEN, f"{where} does not answer ({error.strerror or error})")
        return ExaminedPart(subject, PartHealth.REMARK, f"not running: {where} does not answer")
    if shown != _lies_there(settings):
        detail = f"{where} shows another certificate than that of gateway.tls_certificate: see the gateway's log"
        return ExaminedPart(subject, PartHealth.BROKEN, detail)
    return ExaminedPart(subject, PartHealth.FINE, f"{where} shows its certificate ({version}), {_asked(listener)}")


def _asked(listener: ListenerSettings) -> str:
    return f"client certificates {listener.client_certificates.value}"


def _context(settings: GatewaySettings) -> ssl.SSLContext:
    """Return how to call a listener; with our own certificate, which a trial's listener takes without a complaint."""
    try:
        context = client_context(settings)
    except CertificateUnusable:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # What is shown is compared with the file: whether it can be trusted is not asked here.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _shown(listener: ListenerSettings, settings: GatewaySettings) -> tuple[bytes, str]:
    """Return the certificate that a listener shows (DER), and the version of TLS."""
    context = _context(settings)
    address = (reachable(listener.host), listener.port)
    with (
        socket.create_connection(address, timeout=_PATIENCE_SECONDS) as connection,
        context.wrap_socket(connection, server_hostname=address[0]) as secured,
    ):
        return secured.getpeercert(binary_form=True) or b"", secured.version() or ""


def _lies_there(settings: GatewaySettings) -> bytes:
    """Return the certificate of the settings (DER); empty where the file cannot be used."""
    with suppress(CertificateUnusable):
        if settings.tls_certificate is not None:
            return read_certificates(settings.tls_certificate)[0].public_bytes(Encoding.DER)
    return b""
