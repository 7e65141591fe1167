"""Where the receivers of each kind are: addresses as people write them, checked and in one form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from types import MappingProxyType
from urllib.parse import SplitResult, urlsplit

from dicom_gateway.announcing.options import MailSecurity
from storage.announcing.tables import ChannelKind
from storage.errors import ChannelInvalid

_LONGEST = 300
_WEB = ("https", "http")
_SCHEMES: Mapping[ChannelKind, tuple[str, ...]] = MappingProxyType(
    {
        ChannelKind.HL7: ("mllp", "mllps"),
        ChannelKind.FHIR: _WEB,
        ChannelKind.WEBHOOK: _WEB,
        ChannelKind.MAIL: ("smtp",),
    }
)
_FORMS: Mapping[ChannelKind, str] = MappingProxyType(
    {
        ChannelKind.HL7: "mllp://HOST:PORT, or with TLS mllps://HOST:PORT",
        ChannelKind.FHIR: "https://HOST/BASE, for example https://fhir.hospital.example/r4",
        ChannelKind.WEBHOOK: "https://HOST/PATH, for example https://alerts.hospital.example/oncue",
        ChannelKind.MAIL: "smtp://HOST or smtp://HOST:PORT",
    }
)
_MAIL_PORTS: Mapping[MailSecurity, int] = MappingProxyType(
    {MailSecurity.STARTTLS: 587, MailSecurity.TLS: 465, MailSecurity.PLAIN: 25}
)


@dataclass(frozen=True, slots=True)
class ReceiverAddress:
    """Where a receiver is, in the form that is kept; whether it is on this machine, and whether its scheme is TLS."""

    text: str
    is_here: bool
    is_tls: bool


def read_address(kind: ChannelKind, text: str, *, security: MailSecurity | None = None) -> ReceiverAddress:
    """Return the address of a channel; ChannelInvalid says what it must look like, and never repeats it.

    Its query may hold a secret of the receiver. ``security`` gives a mail server its port where the text has none.
    """
    bare = text.strip()
    parts = _parts(kind, bare)
    host = parts.hostname or ""
    shown = f"[{host}]" if ":" in host else host
    if kind in (ChannelKind.FHIR, ChannelKind.WEBHOOK):
        if parts.fragment or (kind is ChannelKind.FHIR and parts.query):
            raise _invalid(kind, "it has a query or a fragment")
        return ReceiverAddress(bare, _is_here(host), parts.scheme == "https")
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise _invalid(kind, "it has a path")
    port = parts.port or (_MAIL_PORTS[security or MailSecurity.STARTTLS] if kind is ChannelKind.MAIL else None)
    if port is None:
        raise _invalid(kind, "it has no port")
    return ReceiverAddress(f"{parts.scheme}://{shown}:{port}", _is_here(host), parts.scheme == "mllps")


def _parts(kind: ChannelKind, text: str) -> SplitResult:
    if len(text) > _LONGEST:
        raise _invalid(kind, f"it has more than {_LONGEST} characters")
    if not (text.isascii() and text.isprintable()) or " " in text:
        raise _invalid(kind, "it has characters that belong written as %XX")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise _invalid(kind, "it cannot be read") from None
    if parts.scheme not in _SCHEMES[kind] or not parts.hostname or port == 0:
        raise _invalid(kind, "it names no such receiver")
    if parts.username is not None or parts.password is not None:
        raise _invalid(kind, "it has a user or a password, which belong into a file (--credentials)")
    return parts


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _invalid(kind: ChannelKind, what: str) -> ChannelInvalid:
    return ChannelInvalid(f"the address is none of a channel of the kind {kind}: {what}; write {_FORMS[kind]}")
