"""What somebody says of a destination, checked before it becomes an entry."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final, TypeVar

from pydicom.charset import python_encoding
from pydicom.uid import UID

from dicom_gateway.chosen_forms import SENDABLE, SOP_CLASSES
from dicom_gateway.destinations import WebAddress, parse_address
from dicom_gateway.objects.styles import LONGEST_BESIDE_PRIORITY
from dicom_gateway.sending.credentials import read_credentials
from storage.destinations import DestinationEntry
from storage.domain import Priority, Unanalysed
from storage.errors import ConfigurationError, DestinationInvalid, FileUnusable
from storage.proof_ways import ProofWay

NAME_CHARACTERS = 32
_NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{NAME_CHARACTERS - 1}}}")
_LONGEST_DESCRIPTION = 64
_HIGHEST_SERIES_NUMBER = 2_147_000_000  # IS holds 32 bits with a sign (PS3.5 6.2), and series count on from there
_SHORT_SYNTAXES: Final = {"explicit": SENDABLE[0], "implicit": SENDABLE[1]}
_NO_ENTRY = DestinationEntry("", "")
_CLEARED: Final = {
    "forms": "forms",
    "routes": "routes",
    "priorities": "priorities",
    "transfer-syntaxes": "transfer_syntaxes",
    "series-number": "series_number_base",
    "series-description": "series_description",
    "character-set": "character_set",
    "proof": "proof",
    "proof-address": "proof_address",
    "associations": "associations",
    "objects-per-association": "objects_per_association",
    "kilobytes-per-second": "kilobytes_per_second",
    "credentials": "credentials",
}
"""Options that `--clear` takes, and the fields that they stand for."""

Member = TypeVar("Member", bound=StrEnum)


@dataclass(frozen=True, slots=True)
class DestinationWish:
    """What somebody wants of an entry, as words; None leaves what is there. Lists have commas."""

    address: str | None = None
    forms: str | None = None
    routes: str | None = None
    priorities: str | None = None
    transfer_syntaxes: str | None = None
    series_number_base: int | None = None
    series_description: str | None = None
    character_set: str | None = None
    keeps_segmentations: bool | None = None
    shows_priority: bool | None = None
    rejection_notes: bool | None = None
    unanalysed: str | None = None
    proof: str | None = None
    proof_address: str | None = None
    associations: int | None = None
    objects_per_association: int | None = None
    kilobytes_per_second: int | None = None
    credentials: Path | None = None


def new_entry(name: str, wish: DestinationWish, *, known_routes: Collection[str]) -> DestinationEntry:
    """Return the entry that a wish describes; DestinationInvalid says which word is wrong and what it should be."""
    if _NAME.fullmatch(name) is None:
        raise DestinationInvalid(
            f"{name!r} is no name of a destination: 1 to {NAME_CHARACTERS} letters, digits, dots, dashes or underscores"
        )
    return wished(replace(_NO_ENTRY, name=name), wish, known_routes=known_routes)


def wished(entry: DestinationEntry, wish: DestinationWish, *, known_routes: Collection[str]) -> DestinationEntry:
    """Return an entry with what is wished changed."""
    changes: dict[str, Any] = {
        name: _READERS[name](value) if name in _READERS else value
        for name in DestinationWish.__slots__
        if (value := getattr(wish, name)) is not None
    }
    if wish.routes is not None:
        changes["routes"] = _routes(wish.routes, known_routes)
    return _consistent(replace(entry, **changes))


def changed(
    entry: DestinationEntry, wish: DestinationWish, clear: Collection[str], *, known_routes: Collection[str]
) -> DestinationEntry:
    """Return an entry with some options cleared and what is wished changed; no option may be both."""
    both = [option for option in clear if option in _CLEARED and getattr(wish, _CLEARED[option]) is not None]
    if both:
        raise DestinationInvalid(f"--{both[0]} is given and cleared at once: say one of the two")
    return wished(cleared(entry, clear), wish, known_routes=known_routes)


def cleared(entry: DestinationEntry, options: Collection[str]) -> DestinationEntry:
    """Return an entry in which some options are as if they had never been given."""
    unknown = [option for option in options if option not in _CLEARED]
    if unknown:
        raise DestinationInvalid(f"{unknown[0]!r} is no option to clear; these are: {', '.join(_CLEARED)}")
    fields = [_CLEARED[option] for option in options]
    return replace(entry, **{name: getattr(_NO_ENTRY, name) for name in fields})


def _consistent(entry: DestinationEntry) -> DestinationEntry:
    """See that a description leaves room for the priority, proofs can be had, and credentials are safe."""
    described = entry.series_description or ""
    if entry.shows_priority and len(described) > LONGEST_BESIDE_PRIORITY:
        raise DestinationInvalid(
            f"the priority stands before the series description: give one of at most {LONGEST_BESIDE_PRIORITY} "
            f"characters, not {len(described)}, or leave --show-priority"
        )
    _require_provable(entry)
    _require_safe_credentials(entry)
    return entry


def _require_provable(entry: DestinationEntry) -> None:
    """See that a destination can be asked the way that it is to be: a DICOMweb service knows no commitment."""
    if entry.proof is ProofWay.NONE:
        if entry.proof_address is not None:
            raise DestinationInvalid(
                "an address for proofs is of no use without them: give --proof commitment or --proof query, or "
                "--clear proof-address"
            )
        return
    asked = parse_address(entry.proof_address or entry.address)
    if entry.proof is ProofWay.COMMITMENT and any(
        isinstance(one, WebAddress) for one in (asked, parse_address(entry.address))
    ):
        raise DestinationInvalid("a DICOMweb service knows no storage commitment: give --proof query")


def _require_safe_credentials(entry: DestinationEntry) -> None:
    """See that credentials are for a DICOMweb service, can be read, and do not travel in clear."""
    if entry.credentials is None:
        return
    address = parse_address(entry.address)
    if not isinstance(address, WebAddress):
        raise DestinationInvalid("credentials are for DICOMweb services; a DICOM peer is shown gateway.tls_certificate")
    if not address.tls and not _is_here(address.host):
        raise DestinationInvalid(f"{address} would be sent credentials that anybody on the way can read: use https")
    if read_credentials(Path(entry.credentials)).is_exposed:
        raise FileUnusable(f"others than its owner can read {entry.credentials}: chmod 600 {entry.credentials}")


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _address(text: str) -> str:
    try:
        return str(parse_address(text))
    except ConfigurationError as error:
        raise DestinationInvalid(str(error)) from None


def _words(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))


def _members(text: str, allowed: tuple[Member, ...], what: str) -> tuple[Member, ...]:
    by_name = {member.value.casefold(): member for member in allowed}
    words = _words(text)
    wrong = next((word for word in words if word.casefold() not in by_name), None)
    if wrong is not None or not words:
        known = ", ".join(member.value for member in allowed)
        raise DestinationInvalid(f"{wrong or text!r} is no {what}; these are: {known}")
    return tuple(dict.fromkeys(by_name[word.casefold()] for word in words))


def _routes(text: str, known: Collection[str]) -> tuple[str, ...]:
    words = _words(text)
    wrong = next((word for word in words if word not in known), None)
    if wrong is not None or not words:
        raise DestinationInvalid(
            f"there is no route {wrong or text!r}; these are: {', '.join(sorted(known)) or 'none'}"
        )
    return words


def _transfer_syntax(text: str) -> str:
    """Return the UID of a transfer syntax that results can travel in: by its UID, keyword or name, or in one word."""
    for uid in SENDABLE:
        names = (uid, UID(uid).keyword, UID(uid).name)
        if text.casefold() in map(str.casefold, names) or _SHORT_SYNTAXES.get(text.casefold()) == uid:
            return uid
    known = ", ".join(f"{short} ({uid})" for short, uid in _SHORT_SYNTAXES.items())
    raise DestinationInvalid(f"{text!r} is no transfer syntax that results are sent in; these are: {known}")


def _series_number(number: int) -> int:
    if not 0 <= number <= _HIGHEST_SERIES_NUMBER:
        raise DestinationInvalid(f"the series numbers begin at 0 to {_HIGHEST_SERIES_NUMBER}, not at {number}")
    return number


def _series_description(text: str) -> str:
    if not text.strip() or len(text) > _LONGEST_DESCRIPTION or not text.isprintable() or "\\" in text:
        raise DestinationInvalid(
            f"a series description has 1 to {_LONGEST_DESCRIPTION} printable characters and no backslash (VR LO)"
        )
    return text


def _character_set(text: str) -> str:
    """Return a defined term of Specific Character Set (PS3.3 C.12.1.1.2), or several with backslashes."""
    terms = text.split("\\")
    wrong = next((term for term in terms if term not in python_encoding), None)
    if wrong is not None or not text:
        raise DestinationInvalid(
            f"{wrong or text!r} is no character set of DICOM: write ISO_IR 100, ISO_IR 192 or the like"
        )
    return text


_READERS: Mapping[str, Callable[[Any], object]] = {
    "address": _address,
    "forms": lambda text: _members(text, tuple(SOP_CLASSES), "form"),
    "priorities": lambda text: _members(text, tuple(Priority), "priority"),
    "transfer_syntaxes": lambda text: tuple(dict.fromkeys(map(_transfer_syntax, _words(text) or ("",)))),
    "series_number_base": _series_number,
    "series_description": _series_description,
    "character_set": _character_set,
    "proof": lambda text: _members(text, tuple(ProofWay), "answer to --proof")[0],
    "proof_address": _address,
    "unanalysed": lambda text: _members(text, tuple(Unanalysed), "answer to --unanalysed")[0],
    "credentials": lambda path: str(path.expanduser().absolute()),
}
"""How the words of a wish are read; what is not here is taken as it is."""
