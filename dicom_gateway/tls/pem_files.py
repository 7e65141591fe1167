"""Certificates, private keys and revocation lists, read from files; what is wrong with one is said with its path."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from dicom_gateway.errors import CertificateUnusable

_LARGEST_BYTES = 64 << 20  # the revocation lists of large authorities have some megabytes
_REVOCATION_LIST = re.compile(rb"-----BEGIN X509 CRL-----.+?-----END X509 CRL-----", re.DOTALL)

Parsed = TypeVar("Parsed")


def read_certificates(path: Path) -> tuple[x509.Certificate, ...]:
    """Return the certificates of a PEM file, at least one, in order; CertificateUnusable otherwise."""
    content = _content(path)
    return _parsed(path, "a certificate", lambda: tuple(x509.load_pem_x509_certificates(content)))


def read_revocation_lists(path: Path) -> tuple[x509.CertificateRevocationList, ...]:
    """Return the revocation lists of a PEM file, or the one of a DER file; CertificateUnusable otherwise."""
    content = _content(path)
    blocks = _REVOCATION_LIST.findall(content)
    if not blocks:
        return _parsed(path, "a revocation list", lambda: (x509.load_der_x509_crl(content),))
    return _parsed(path, "a revocation list", lambda: tuple(x509.load_pem_x509_crl(block) for block in blocks))


def check_pair(certificate: Path, key: Path, password: str) -> None:
    """See that a private key can be read and is its certificate's own; CertificateUnusable otherwise."""
    public = read_certificates(certificate)[0].public_key()
    content = _content(key)
    secret = password.encode() or None
    try:
        # An unencrypted key takes no password, and the library says so instead of passing over it.
        private = load_pem_private_key(content, secret if b"ENCRYPTED" in content else None)
    except TypeError as error:
        raise CertificateUnusable(f"{key} is encrypted: set gateway.tls_key_password") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        wrong = "its password is another one, or it" if secret else "it"
        raise CertificateUnusable(f"{key}: {wrong} holds no private key in PEM form") from error
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if private.public_key().public_bytes(*form) != public.public_bytes(*form):
        raise CertificateUnusable(f"{key} is not the private key of {certificate}: the two belong together")


def names_of(certificate: x509.Certificate) -> tuple[str, ...]:
    """Return the names that a certificate holds for: DNS names and IP addresses, or its common name without them."""
    try:
        held = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return common_names(certificate.subject)
    addresses = (str(address) for address in held.get_values_for_type(x509.IPAddress))
    return (*held.get_values_for_type(x509.DNSName), *addresses) or common_names(certificate.subject)


def common_names(name: x509.Name) -> tuple[str, ...]:
    """Return the common names within a distinguished name."""
    return tuple(str(attribute.value) for attribute in name.get_attributes_for_oid(x509.NameOID.COMMON_NAME))


def _content(path: Path) -> bytes:
    try:
        if path.stat().st_size > _LARGEST_BYTES:
            raise CertificateUnusable(f"{path} has more than {_LARGEST_BYTES >> 20} MiB: name another file")
        return path.read_bytes()
    except OSError as error:
        raise CertificateUnusable(
            f"{path} cannot be read ({error.strerror}): check the path and who may read"
        ) from error


def _parsed(path: Path, what: str, parse: Callable[[], Parsed]) -> Parsed:
    try:
        return parse()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise CertificateUnusable(f"{path} is not {what} in PEM form") from error
