"""What somebody says of a peer, checked before it becomes an entry: titles, networks, SOP classes, addresses."""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import ip_address, ip_interface
from urllib.parse import urlsplit

from pydantic import TypeAdapter, ValidationError
from pydicom.uid import UID
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # made at import, from a table

from dicom_gateway.config import AeTitle
from dicom_gateway.contexts import accepted_contexts
from dicom_gateway.destinations import Destination
from storage.errors import ConfigurationError, PeerInvalid
from storage.peers import LOOPBACK

NAME_CHARACTERS = 32
_NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{NAME_CHARACTERS - 1}}}")
_NOT_OF_NAMES = re.compile(r"[^A-Za-z0-9._-]+")
_CERTIFICATE_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,255}")
_LONGEST_ADDRESS = 300
_AE_TITLE: TypeAdapter[str] = TypeAdapter(AeTitle)


def peer_name(text: str) -> str:
    """Return the name of an entry; PeerInvalid where it is none, or the one that this machine has."""
    if _NAME.fullmatch(text) is None:
        raise PeerInvalid(
            f"{text!r} is no name of a peer: 1 to {NAME_CHARACTERS} letters, digits, dots, dashes or underscores"
        )
    if text == LOOPBACK:
        raise PeerInvalid(f"{LOOPBACK} is what senders on this machine without an entry are called: take another name")
    return text


def name_for(calling_aet: str, taken: Iterable[str]) -> str:
    """Return a free name for the entry of a title: the title, as far as a name may hold it, and a number.

    A name that differs from a taken one by small letters alone is not free: people would take one for the other.
    """
    known = {name.casefold() for name in (LOOPBACK, *taken)}
    base = _NOT_OF_NAMES.sub("-", calling_aet).lstrip("._-") or "peer"
    names = (base if number == 1 else f"{base}-{number}" for number in range(1, len(known) + 2))
    return next(name for name in names if name.casefold() not in known)


def ae_title(text: str) -> str:
    """Return an AE title without its padding (VR AE, PS3.5 6.2)."""
    try:
        return _AE_TITLE.validate_python(text)
    except ValidationError:
        raise PeerInvalid(f"{text!r} is no AE title: 1 to 16 printable ASCII characters without a backslash") from None


def network(text: str) -> str:
    """Return a network as CIDR; an address alone is the network of that address."""
    try:
        interface = ip_interface(text)
    except ValueError:
        raise PeerInvalid(f"{text!r} is no network: write it as CIDR, for example 10.20.0.0/16 or 10.20.0.7") from None
    if interface.ip != interface.network.network_address:
        raise PeerInvalid(f"{text!r} has bits behind its prefix; did you mean {interface.network} or {interface.ip}?")
    return str(interface.network)


def address(text: str) -> str:
    """Return an IP address."""
    try:
        return str(ip_address(text))
    except ValueError:
        raise PeerInvalid(f"{text!r} is no IP address: write it as 10.20.0.7 or fd00::7") from None


def certificate_name(text: str) -> str:
    """Return the common name or DNS name that a client certificate must have."""
    if _CERTIFICATE_NAME.fullmatch(text) is None:
        raise PeerInvalid("the name of a certificate has 1 to 255 characters, and none that cannot be printed")
    return text


def sop_class(text: str) -> str:
    """Return the UID of a storage SOP class, given as that or as its keyword, for example CTImageStorage."""
    taken = {str(context.abstract_syntax) for context in accepted_contexts()} - {Verification}
    uid = next((uid for uid in taken if text in (uid, UID(uid).keyword)), None)
    if uid is None:
        raise PeerInvalid(f"{text!r} is no SOP class that oncue takes; docs/conformance.md lists them")
    return uid


def query_address(text: str) -> str:
    """Return where a peer answers questions: a destination for C-FIND, or the base URL of its DICOMweb service.

    A URL may hold no user, password, query or fragment: it is shown in lists.
    """
    if len(text) > _LONGEST_ADDRESS:
        raise PeerInvalid(f"a query address has at most {_LONGEST_ADDRESS} characters")
    if "://" not in text or text.startswith("tls://"):
        try:
            return str(Destination.parse(text))
        except ConfigurationError as error:
            raise PeerInvalid(f"the query address {text!r} cannot be read: {error}") from None
    return _url(text)


def store_address(text: str) -> str:
    """Return where a peer takes what it asks for by C-MOVE: ``AET@HOST:PORT`` or ``tls://AET@HOST:PORT``."""
    if len(text) > _LONGEST_ADDRESS:
        raise PeerInvalid(f"a store address has at most {_LONGEST_ADDRESS} characters")
    try:
        return str(Destination.parse(text))
    except ConfigurationError as error:
        raise PeerInvalid(f"the store address {text!r} cannot be read: {error}") from None


def _url(text: str) -> str:
    form = (
        "write it as https://HOST/PATH, for example https://pacs.example.org/dicom-web, or as AET@HOST:PORT for C-FIND"
    )
    try:
        parts = urlsplit(text)
        parts.port  # noqa: B018 - it is read here because that checks it
    except ValueError:
        raise PeerInvalid(f"the query address cannot be read as a URL; {form}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or any(map(str.isspace, text)):
        raise PeerInvalid(f"the query address is no URL of a DICOMweb service; {form}")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise PeerInvalid(f"the query address has a user, a password, a query or a fragment; {form}")
    return text
