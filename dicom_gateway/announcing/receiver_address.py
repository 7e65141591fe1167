"""Where the receivers of each kind are: addresses as people write them, checked and in one form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from urllib.parse import SplitResult, urlsplit

from dicom_gateway.announcing import own_network
from dicom_gateway.announcing.options import MailSecurity
from storage.announcing.tables import ChannelKind
from storage.errors import ChannelInvalid

_LONGEST = 300
_WEB_PORTS: Mapping[str, int] = MappingProxyType({"https": 443, "http": 80})
_SCHEMES: Mapping[ChannelKind, tuple[str, ...]] = MappingProxyType(
    {
        ChannelKind.HL7: ("mllp", "mllps"),
        ChannelKind.FHIR: tuple(_WEB_PORTS),
        ChannelKind.WEBHOOK: tuple(_WEB_PORTS),
        ChannelKind.MAIL: ("smtp",),
    }
)
_FORMS: Mapping[ChannelKind, str] = MappingProxyType(
    {
        ChannelKind.HL7: "mllp://HOST:PORT, or with TLS mllps://HOST:PORT",
        ChannelKind.FHIR: "https://HOST/BASE, for example https://fhir.hospital.example/r4",
        ChannelKind.WEBHOOK: "https://HOST/PATH, for example https://alerts.hospital.example/oncue",
        ChannelKind.MAIL: "smtp://HOST:PORT, or smtp://HOST for the usual port",
    }
)
_MAIL_PORTS: Mapping[MailSecurity, int] = MappingProxyType(
    {
        MailSecurity.STARTTLS: 587,  # submission, RFC 6409
        MailSecurity.TLS: 465,  # submission by TLS, RFC 8314
        MailSecurity.PLAIN: 25,
    }
)
_BY_TLS = ("https", "mllps")


@dataclass(frozen=True, slots=True)
class ReceiverAddress:
    """Where a receiver is; as text without a query, which may hold a secret of the receiver.

    ``written`` is the form that is kept, ``path`` has the query. Whether mail goes by TLS is no part of its address.
    """

    written: str
    host: str
    port: int
    path: str = ""
    tls: bool = False

    @property
    def is_here(self) -> bool:
        """Whether it is on this machine."""
        return own_network.is_this_machine(self.host)

    def __str__(self) -> str:
        return self.written.partition("?")[0]


def read_address(kind: ChannelKind, text: str, *, security: MailSecurity | None = None) -> ReceiverAddress:
    """Return the address of a channel; ChannelInvalid says what it must look like, and never repeats it.

    Its query may hold a secret of the receiver. ``security`` gives a mail server its port where the text has none.
    """
    bare = text.strip()
    parts = _parts(kind, bare)
    if kind in (ChannelKind.FHIR, ChannelKind.WEBHOOK):
        return _of_web(kind, bare, parts)
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise _invalid(kind, "it has a path")
    host = parts.hostname or ""
    port = parts.port or (_MAIL_PORTS[security or MailSecurity.STARTTLS] if kind is ChannelKind.MAIL else None)
    if port is None:
        raise _invalid(kind, "it has no port")
    shown = f"[{host}]" if ":" in host else host
    return ReceiverAddress(f"{parts.scheme}://{shown}:{port}", host, port, tls=parts.scheme in _BY_TLS)


def _of_web(kind: ChannelKind, text: str, parts: SplitResult) -> ReceiverAddress:
    if parts.fragment or (kind is ChannelKind.FHIR and parts.query):
        raise _invalid(kind, "it has a query or a fragment")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    port = parts.port or _WEB_PORTS[parts.scheme]
    return ReceiverAddress(text, parts.hostname or "", port, path, tls=parts.scheme in _BY_TLS)


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


def _invalid(kind: ChannelKind, what: str) -> ChannelInvalid:
    return ChannelInvalid(f"the address is none of a channel of the kind {kind}: {what}; write {_FORMS[kind]}")
