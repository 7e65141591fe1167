"""Where a mail server is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from dicom_gateway.announcing.options import MailSecurity
from storage.errors import ChannelInvalid

_FORM = "write a mail server as smtp://HOST:PORT, for example smtp://mail.hospital.example:587"
_USUAL_PORTS: Mapping[MailSecurity, int] = {
    MailSecurity.STARTTLS: 587,  # submission, RFC 6409
    MailSecurity.TLS: 465,  # submission by TLS, RFC 8314
    MailSecurity.PLAIN: 25,
}


@dataclass(frozen=True, slots=True)
class MailServer:
    """A server that takes mail by SMTP; as text it is its address."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str, security: MailSecurity) -> Self:
        """Read ``smtp://HOST[:PORT]``; the port is the usual one of ``security`` where none is given.

        ChannelInvalid says what is wrong with it.
        """
        bare = text.strip()
        try:
            parts = urlsplit(bare)
            port = parts.port
        except ValueError:
            raise ChannelInvalid(f"{bare!r} cannot be read as an address; {_FORM}") from None
        if parts.scheme != "smtp" or not parts.hostname or port == 0 or not (bare.isascii() and bare.isprintable()):
            raise ChannelInvalid(f"{bare!r} is no address of a mail server; {_FORM}")
        if parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc or " " in bare:
            raise ChannelInvalid(f"the address of a mail server is host and port alone; {_FORM}")
        return cls(parts.hostname, port or _USUAL_PORTS[security])

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"smtp://{host}:{self.port}"
