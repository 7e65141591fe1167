"""An authority of an installation's own, for a trial: it certifies the gateway and its callers until a real one does.

Its private key lies beside what it issues. Who can read the folder can issue certificates that the gateway trusts.
"""

from __future__ import annotations

import ipaddress
import os
import secrets
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Self
from urllib.parse import quote

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from dicom_gateway.errors import CertificateUnusable
from dicom_gateway.tls.pem_files import check_pair, read_certificates

_KEY_BITS = 3072  # RSA, because older modalities know nothing else
_AUTHORITY_DAYS = 1825
_PAIR_DAYS = 397
_CLOCK_SLACK = timedelta(hours=1)  # a peer's clock may be behind ours
_LONGEST_COMMON_NAME = 64  # ub-common-name of X.520


@dataclass(frozen=True, slots=True)
class IssuedPair:
    """A certificate and its private key, as PEM files; ``made`` is False where they were there already."""

    certificate: Path
    key: Path
    made: bool


@dataclass(frozen=True, slots=True)
class TrialAuthority:
    """Issues certificates into a folder; ``certificate`` is what peers are given to trust."""

    folder: Path
    made: bool

    @classmethod
    def open(cls, folder: Path, *, now: datetime) -> Self:
        """Return the folder's authority, made where there is none; CertificateUnusable where half of one is there."""
        authority = cls(folder, made=not (folder / "ca.pem").exists() and not (folder / "ca.key").exists())
        if authority.made:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            authority._make(now)
        check_pair(authority.certificate, authority._key_path, "")
        return authority

    @property
    def certificate(self) -> Path:
        """The authority's own certificate."""
        return self.folder / "ca.pem"

    def issue_server(self, names: Sequence[str], *, now: datetime, renew: bool = False) -> IssuedPair:
        """Issue the gateway's pair for its host names and IP addresses, at least one; it serves for calling, too.

        One that is there stays as it is unless ``renew`` is set.
        """
        builder = _builder(names[0], days=_PAIR_DAYS, now=now)
        alternatives = x509.SubjectAlternativeName([_general_name(name) for name in names])
        builder = builder.add_extension(alternatives, critical=False)
        return self._issue(
            "server", builder, [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH], renew=renew
        )

    def issue_client(self, name: str, *, now: datetime, renew: bool = False) -> IssuedPair:
        """Issue a caller's pair under its AE title; one that is there stays as it is unless ``renew`` is set."""
        builder = _builder(name, days=_PAIR_DAYS, now=now)
        return self._issue(f"client-{quote(name, safe='')}", builder, [ExtendedKeyUsageOID.CLIENT_AUTH], renew=renew)

    @property
    def _key_path(self) -> Path:
        return self.folder / "ca.key"

    def _make(self, now: datetime) -> None:
        key = _new_key()
        name = f"oncue trial authority {secrets.token_hex(4)}"
        builder = _builder(name, days=_AUTHORITY_DAYS, now=now).public_key(key.public_key()).issuer_name(_named(name))
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(_usage(signs_certificates=True), critical=True)
        identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        signed = builder.add_extension(identifier, critical=False).sign(key, hashes.SHA256())
        _write(self._key_path, _pem(key), mode=0o600)
        _write(self.certificate, signed.public_bytes(Encoding.PEM), mode=0o644)

    def _issue(
        self, stem: str, builder: x509.CertificateBuilder, usages: list[x509.ObjectIdentifier], *, renew: bool
    ) -> IssuedPair:
        certificate, key_path = self.folder / f"{stem}.pem", self.folder / f"{stem}.key"
        if certificate.exists() and key_path.exists() and not renew:
            return IssuedPair(certificate, key_path, made=False)
        (issuer,) = read_certificates(self.certificate)
        key = _new_key()
        own = load_pem_private_key(self._key_path.read_bytes(), None)
        if not isinstance(own, rsa.RSAPrivateKey):
            raise CertificateUnusable(f"{self._key_path} is not the key of a trial's authority: name another folder")
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(own.public_key())
        builder = builder.public_key(key.public_key()).issuer_name(issuer.subject)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_usage(signs_certificates=False), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        signed = builder.add_extension(identifier, critical=False).sign(own, hashes.SHA256())
        _write(key_path, _pem(key), mode=0o600)
        _write(certificate, signed.public_bytes(Encoding.PEM), mode=0o644)
        return IssuedPair(certificate, key_path, made=True)


def _builder(name: str, *, days: int, now: datetime) -> x509.CertificateBuilder:
    begin = x509.CertificateBuilder().subject_name(_named(name)).serial_number(x509.random_serial_number())
    return begin.not_valid_before(now - _CLOCK_SLACK).not_valid_after(now + timedelta(days=days))


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:_LONGEST_COMMON_NAME])])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        pass
    try:
        return x509.DNSName(name)
    except ValueError as error:
        raise CertificateUnusable(f"{name!r} is no host name: write it in ASCII (xn--...)") from error


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=not signs_certificates,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _new_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=_KEY_BITS)


def _pem(key: rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _write(path: Path, content: bytes, *, mode: int) -> None:
    """Put a file in place whole, with its mode from the first byte on."""
    descriptor, name = tempfile.mkstemp(dir=path.parent)  # readable by its owner alone
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        os.fchmod(file.fileno(), mode)
        file.flush()
        os.fsync(file.fileno())
    Path(name).replace(path)
