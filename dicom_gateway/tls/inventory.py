"""Every certificate and revocation list that the settings name, and until when each holds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from dicom_gateway.config import GatewaySettings
from dicom_gateway.errors import CertificateUnusable
from dicom_gateway.tls.pem_files import (
    check_pair,
    common_names,
    names_of,
    read_certificates,
    read_revocation_lists,
)

SOON = timedelta(days=30)


class Kind(StrEnum):
    """What a file holds."""

    CERTIFICATE = "certificate"
    AUTHORITY = "authority"
    REVOCATION_LIST = "revocation list"


class Validity(StrEnum):
    """Whether something holds now; soon is within thirty days."""

    VALID = "valid"
    EXPIRES_SOON = "expires soon"
    EXPIRED = "expired"
    NOT_YET_VALID = "not valid yet"
    UNUSABLE = "unusable"


@dataclass(frozen=True, slots=True)
class InventoryItem:
    """One certificate or revocation list; ``used_as`` is the setting that names its file.

    ``until`` is when it expires, or when the list is to be renewed. ``problem`` says why an unusable one is.
    """

    used_as: str
    file: Path
    kind: Kind
    validity: Validity
    names: tuple[str, ...] = ()
    issuer: str = ""
    until: datetime | None = None
    sha256: str = ""
    problem: str = ""


def configured(settings: GatewaySettings, *, now: datetime) -> tuple[InventoryItem, ...]:
    """Return what the settings name, in their order; a file that cannot be used is one item with its problem."""
    return (
        *_own(settings, now),
        *_authorities("gateway.tls_callers_ca", settings.tls_callers_ca, now),
        *_revocations("gateway.tls_callers_crl", settings.tls_callers_crl, now),
        *_authorities("gateway.tls_destinations_ca", settings.tls_destinations_ca, now),
        *_revocations("gateway.tls_destinations_crl", settings.tls_destinations_crl, now),
    )


def issued(folder: Path, *, now: datetime) -> tuple[InventoryItem, ...]:
    """Return what the trial's authority of a folder has issued, by file name; none where there is no such folder."""
    found: list[InventoryItem] = []
    for path in sorted(folder.glob("*.pem")):
        kind = Kind.AUTHORITY if path.name == "ca.pem" else Kind.CERTIFICATE
        found += _read("trial", path, kind, now)
    return tuple(found)


def _own(settings: GatewaySettings, now: datetime) -> Iterator[InventoryItem]:
    used_as, path = "gateway.tls_certificate", settings.tls_certificate
    if path is None:
        return
    try:
        check_pair(path, settings.tls_key or path, settings.tls_key_password.get_secret_value())
    except CertificateUnusable as error:
        yield _unusable(used_as, path, Kind.CERTIFICATE, error)
        return
    yield from _read(used_as, path, Kind.CERTIFICATE, now)


def _authorities(used_as: str, path: Path | None, now: datetime) -> Iterator[InventoryItem]:
    if path is not None:
        yield from _read(used_as, path, Kind.AUTHORITY, now)


def _revocations(used_as: str, path: Path | None, now: datetime) -> Iterator[InventoryItem]:
    if path is None:
        return
    try:
        lists = read_revocation_lists(path)
    except CertificateUnusable as error:
        yield _unusable(used_as, path, Kind.REVOCATION_LIST, error)
        return
    for one in lists:
        until = one.next_update_utc
        yield InventoryItem(
            used_as,
            path,
            Kind.REVOCATION_LIST,
            # Lists are renewed every few days: that one is due soon is no news.
            Validity.EXPIRED if until is not None and until <= now else Validity.VALID,
            issuer=_first(common_names(one.issuer), one.issuer),
            until=until,
            sha256=one.fingerprint(hashes.SHA256()).hex(),
        )


def _read(used_as: str, path: Path, kind: Kind, now: datetime) -> Iterator[InventoryItem]:
    try:
        certificates = read_certificates(path)
    except CertificateUnusable as error:
        yield _unusable(used_as, path, kind, error)
        return
    for number, certificate in enumerate(certificates):
        # Behind our own certificate stand those of its issuers.
        its_kind = Kind.AUTHORITY if number else kind
        yield InventoryItem(
            used_as,
            path,
            its_kind,
            _validity(certificate, now),
            names=names_of(certificate) or (certificate.subject.rfc4514_string(),),
            issuer=_first(common_names(certificate.issuer), certificate.issuer),
            until=certificate.not_valid_after_utc,
            sha256=certificate.fingerprint(hashes.SHA256()).hex(),
        )


def _validity(certificate: x509.Certificate, now: datetime) -> Validity:
    if certificate.not_valid_after_utc <= now:
        return Validity.EXPIRED
    if certificate.not_valid_before_utc > now:
        return Validity.NOT_YET_VALID
    return Validity.EXPIRES_SOON if certificate.not_valid_after_utc - now <= SOON else Validity.VALID


def _unusable(used_as: str, path: Path, kind: Kind, error: CertificateUnusable) -> InventoryItem:
    return InventoryItem(used_as, path, kind, Validity.UNUSABLE, problem=str(error))


def _first(names: Iterable[str], otherwise: x509.Name) -> str:
    return next(iter(names), otherwise.rfc4514_string())
