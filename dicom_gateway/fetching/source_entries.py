"""What somebody says of a source to fetch from, checked before it becomes an entry."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dicom_gateway.destinations import WebAddress, parse_address
from dicom_gateway.sending.credentials import read_credentials
from storage.domain import Lane
from storage.errors import ConfigurationError, FetchSourceInvalid
from storage.fetching.hours import Hours
from storage.fetching.sources import FetchSource, FetchWay
from storage.fetching.wanted import Wanted

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")
_SPAN = re.compile(r"(\d{1,6})\s*(s|m|h|d)?")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_LEAST_EVERY_SECONDS = 10
_LONGEST_SECONDS = 30 * 86_400
_MOST_PRIORS = 20
CLEARED = ("filter", "every", "hours", "studies-per-hour", "priors", "credentials")
"""Options that are not set any more where somebody says so."""
_FIELDS = {"filter": "wanted", "every": "every_seconds", "studies-per-hour": "studies_per_hour"}


@dataclass(frozen=True, slots=True)
class SourceWish:
    """What somebody wants of an entry, as words; None leaves what is there."""

    address: str | None = None
    way: str | None = None
    filter: tuple[str, ...] | None = None
    every: str | None = None
    settle: str | None = None
    hours: str | None = None
    studies_per_hour: int | None = None
    priors: int | None = None
    lane: str | None = None
    credentials: Path | None = None


def new_entry(name: str, wish: SourceWish) -> FetchSource:
    """Return the entry that a wish describes; FetchSourceInvalid says which word is wrong and what it should be."""
    if _NAME.fullmatch(name) is None:
        raise FetchSourceInvalid(
            f"{name!r} is no name of a source: 1 to 32 letters, digits, dots, dashes or underscores"
        )
    is_web = (wish.address or "").lower().startswith(("http://", "https://"))
    usual = FetchWay.WADO if is_web else FetchWay.MOVE
    return wished(FetchSource(name, "", usual), wish)


def wished(entry: FetchSource, wish: SourceWish, clear: tuple[str, ...] = ()) -> FetchSource:
    """Return an entry with some options cleared and what is wished changed; no option may be both."""
    changes: dict[str, Any] = {}
    for option in clear:
        if option not in CLEARED:
            raise FetchSourceInvalid(f"{option!r} is no option to clear; these are: {', '.join(CLEARED)}")
        if getattr(wish, option.replace("-", "_")) is not None:
            raise FetchSourceInvalid(f"--{option} is given and cleared at once: say one of the two")
        changes[_FIELDS.get(option, option)] = Wanted() if option == "filter" else None
    readers = {"address": _address, "way": _way, "every": _every, "settle": _span, "hours": Hours.parse, "lane": _lane}
    names = {"every": "every_seconds", "settle": "settle_seconds"}
    for option, read in readers.items():
        value = getattr(wish, option)
        if value is not None:
            changes[names.get(option, option)] = read(value)
    if wish.filter is not None:
        changes["wanted"] = Wanted.parse(wish.filter)
    if wish.studies_per_hour is not None:
        changes["studies_per_hour"] = _number(wish.studies_per_hour, "studies-per-hour", 100_000)
    if wish.priors is not None:
        changes["priors"] = _number(wish.priors, "priors", _MOST_PRIORS)
    if wish.credentials is not None:
        read_credentials(wish.credentials)
        changes["credentials"] = str(wish.credentials.resolve())
    return _consistent(replace(entry, **changes))


def _consistent(entry: FetchSource) -> FetchSource:
    is_web = isinstance(parse_address(entry.address), WebAddress)
    if is_web is not (entry.way is FetchWay.WADO):
        raise FetchSourceInvalid(
            "a DICOMweb address goes with --way wado, and AET@HOST:PORT with --way move or --way get"
        )
    if entry.credentials is not None and not is_web:
        raise FetchSourceInvalid("credentials are for a DICOMweb service; a DICOM peer is shown a certificate")
    return entry


def _address(text: str) -> str:
    try:
        return str(parse_address(text))
    except ConfigurationError as error:
        raise FetchSourceInvalid(str(error)) from error


def _way(text: str) -> FetchWay:
    try:
        return FetchWay(text)
    except ValueError:
        raise FetchSourceInvalid(f"{text!r} is no way to fetch: choose {', '.join(FetchWay)}") from None


def _lane(text: str) -> Lane:
    try:
        return Lane(text)
    except ValueError:
        raise FetchSourceInvalid(f"{text!r} is no lane: choose {', '.join(Lane)}") from None


def _every(text: str) -> int:
    seconds = _span(text)
    if seconds < _LEAST_EVERY_SECONDS:
        raise FetchSourceInvalid(f"a source is asked every {_LEAST_EVERY_SECONDS} s at most")
    return seconds


def _span(text: str) -> int:
    found = _SPAN.fullmatch(text.strip())
    seconds = int(found[1]) * _SECONDS[found[2] or "s"] if found is not None else -1
    if not 0 <= seconds <= _LONGEST_SECONDS:
        raise FetchSourceInvalid(f"{text!r} is no span of time: write 90s, 10m, 2h or 1d, 30 days at most")
    return seconds


def _number(value: int, option: str, most: int) -> int:
    if not 1 <= value <= most:
        raise FetchSourceInvalid(f"--{option} is 1 to {most:,}")
    return value
