"""Where results go: a peer's AE title, host and port, or the base URL of a DICOMweb service, and whether by TLS."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self
from urllib.parse import SplitResult, urlsplit

from storage.errors import ConfigurationError

_AE_TITLE_CHARACTERS = 16
_HIGHEST_PORT = 65535
_TLS_SCHEME = "tls://"
_WEB_SCHEMES = ("https", "http")
_WEB_FORM = "write a DICOMweb service as https://HOST/PATH, for example https://pacs.example.org/dicom-web"
_LONGEST_ADDRESS = 300
_FORM = "write a destination as AET@HOST:PORT, for example PACS@10.0.0.5:104, or with TLS as tls://PACS@10.0.0.5:2762"


@dataclass(frozen=True, slots=True)
class Destination:
    """A peer that takes DICOM objects."""

    ae_title: str
    host: str
    port: int
    tls: bool = False

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``AET@HOST:PORT`` or ``tls://AET@HOST:PORT``, with an IPv6 host in brackets.

        ConfigurationError says what is wrong with it.
        """
        bare = text.strip()
        tls = bare.lower().startswith(_TLS_SCHEME)
        title, at, address = (bare[len(_TLS_SCHEME) :] if tls else bare).rpartition("@")
        host, colon, port = address.rpartition(":")
        if not at or not colon:
            raise ConfigurationError(f"destination {text!r} is not complete: {_FORM}")
        return cls(ae_title=_ae_title(title, text), host=_host(host, text), port=_port(port, text), tls=tls)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{_TLS_SCHEME if self.tls else ''}{self.ae_title}@{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class WebAddress:
    """A DICOMweb service (PS3.18) that takes objects by STOW-RS; ``path`` is what stands before ``/studies``."""

    host: str
    port: int
    path: str
    tls: bool = True

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``https://HOST[:PORT]/PATH`` or the same with ``http://``; ConfigurationError says what is wrong."""
        parts = _url_parts(text)
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ConfigurationError(
                f"a DICOMweb address holds no user, password, query or fragment, for it is shown in lists; {_WEB_FORM}"
            )
        tls = parts.scheme == "https"
        port = parts.port or (443 if tls else 80)
        return cls(host=parts.hostname or "", port=port, path=parts.path.rstrip("/"), tls=tls)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        is_usual = self.port == (443 if self.tls else 80)
        return f"{'https' if self.tls else 'http'}://{host}{'' if is_usual else f':{self.port}'}{self.path}"


def parse_address(text: str) -> Destination | WebAddress:
    """Read where a destination is: a DICOMweb service where it begins like a URL, or a peer's title, host and port."""
    bare = text.strip()
    if len(bare) > _LONGEST_ADDRESS:
        raise ConfigurationError(f"the address of a destination has at most {_LONGEST_ADDRESS} characters")
    is_web = bare.lower().startswith(tuple(f"{scheme}://" for scheme in _WEB_SCHEMES))
    return WebAddress.parse(bare) if is_web else Destination.parse(bare)


def _url_parts(text: str) -> SplitResult:
    try:
        parts = urlsplit(text)
        is_port = parts.port is None or parts.port > 0
    except ValueError:
        raise ConfigurationError(f"{text!r} cannot be read as a URL; {_WEB_FORM}") from None
    if parts.scheme not in _WEB_SCHEMES or not parts.hostname or not is_port or any(map(str.isspace, text)):
        raise ConfigurationError(f"{text!r} is no URL of a DICOMweb service; {_WEB_FORM}")
    return parts


def _ae_title(title: str, text: str) -> str:
    """Check an AE title (VR AE, PS3.5 6.2): 1 to 16 printable ASCII characters, no backslash."""
    stripped = title.strip(" ")
    if not stripped or len(stripped) > _AE_TITLE_CHARACTERS:
        raise ConfigurationError(f"destination {text!r}: an AE title has 1 to 16 characters, not {len(stripped)}")
    if not (stripped.isascii() and stripped.isprintable()) or "\\" in stripped:
        raise ConfigurationError(f"destination {text!r}: an AE title is printable ASCII without a backslash")
    return stripped


def _host(host: str, text: str) -> str:
    bare = host.removeprefix("[").removesuffix("]") if host.startswith("[") and host.endswith("]") else host
    if not bare or any(character.isspace() for character in bare):
        raise ConfigurationError(f"destination {text!r} names no host: {_FORM}")
    if ":" in bare and bare == host:
        raise ConfigurationError(f"destination {text!r}: put an IPv6 host in brackets, for example PACS@[::1]:104")
    return bare


def _port(port: str, text: str) -> int:
    if not (port.isascii() and port.isdigit()) or not 1 <= int(port) <= _HIGHEST_PORT:
        raise ConfigurationError(f"destination {text!r}: the port must be a number from 1 to {_HIGHEST_PORT}")
    return int(port)
