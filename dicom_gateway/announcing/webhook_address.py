"""Where a webhook is: a URL whose query may hold a secret of the receiver, and is never shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from storage.errors import ChannelInvalid

_SCHEMES = ("https", "http")
_FORM = "write a webhook as https://HOST/PATH, for example https://alerts.hospital.example/oncue"


@dataclass(frozen=True, slots=True)
class WebhookAddress:
    """A URL that takes POST requests; ``path`` has the query. As text it is the URL without its query."""

    host: str
    port: int
    path: str
    tls: bool = True

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``https://HOST[:PORT]/PATH[?QUERY]``, or the same with ``http://``; ChannelInvalid says what is wrong.

        The text itself is in no message.
        """
        bare = text.strip()
        if not (bare.isascii() and bare.isprintable()) or any(map(str.isspace, bare)):
            raise ChannelInvalid(f"a webhook's URL is printable ASCII without spaces, others as %XX; {_FORM}")
        try:
            parts = urlsplit(bare)
            port = parts.port
        except ValueError:
            raise ChannelInvalid(f"the URL of the webhook cannot be read; {_FORM}") from None
        if parts.scheme not in _SCHEMES or not parts.hostname or port == 0:
            raise ChannelInvalid(f"the address is no URL of a webhook; {_FORM}")
        if parts.username is not None or parts.password is not None or parts.fragment:
            raise ChannelInvalid(f"a webhook's URL holds no user, password or fragment; {_FORM}")
        tls = parts.scheme == "https"
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return cls(host=parts.hostname, port=port or (443 if tls else 80), path=path, tls=tls)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        is_usual = self.port == (443 if self.tls else 80)
        path = self.path.partition("?")[0]
        return f"{'https' if self.tls else 'http'}://{host}{'' if is_usual else f':{self.port}'}{path}"
