"""What somebody says of a channel, checked before it becomes an entry."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from dicom_gateway.announcing.announcement import ChannelOptions
from dicom_gateway.announcing.options import (
    MailOptions,
    MailSecurity,
    kept_options,
    option_words,
    read_options,
    written_options,
)
from dicom_gateway.announcing.receiver_address import ReceiverAddress, read_address
from dicom_gateway.announcing.secrets import is_exposed, read_secret
from storage.announcing.channels import ChannelEntry
from storage.announcing.tables import ChannelKind
from storage.domain import Priority
from storage.errors import ChannelInvalid, ChannelNeedsPatientData, FileUnusable

NAME_CHARACTERS = 32
_NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{NAME_CHARACTERS - 1}}}")
_LONGEST_MINUTES = 7 * 24 * 60
_LONGEST_GROUP_SECONDS = 3600
_SHORTEST_SIGNING_SECRET = 16
_CLEARED: Mapping[str, str] = MappingProxyType(
    {
        "priorities": "priorities",
        "routes": "routes",
        "escalate-after": "escalation_minutes",
        "credentials": "credentials",
        "options": "options",
        "group-seconds": "group_seconds",
        "per-hour": "per_hour",
    }
)
"""Options that `--clear` takes, and the fields that they stand for."""


@dataclass(frozen=True, slots=True)
class ChannelWish:
    """What somebody wants of an entry, as words; None leaves what is there. Lists have commas."""

    address: str | None = None
    priorities: str | None = None
    routes: str | None = None
    escalation_minutes: int | None = None
    patient_data: bool | None = None
    private_network: bool | None = None
    credentials: Path | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    group_seconds: int | None = None
    per_hour: int | None = None


def new_entry(name: str, kind: ChannelKind, wish: ChannelWish, *, known_routes: Collection[str]) -> ChannelEntry:
    """Return the entry that a wish describes; ChannelInvalid says which word is wrong and what it should be."""
    if _NAME.fullmatch(name) is None:
        raise ChannelInvalid(
            f"{name!r} is no name of a channel: 1 to {NAME_CHARACTERS} letters, digits, dots, dashes or underscores"
        )
    return wished(ChannelEntry(name, kind, ""), wish, known_routes=known_routes)


def wished(entry: ChannelEntry, wish: ChannelWish, *, known_routes: Collection[str]) -> ChannelEntry:
    """Return an entry with what is wished changed; options that no word names stay."""
    options = read_options(entry.kind, {**_known_words(entry), **wish.options})
    changes: dict[str, Any] = {"options": written_options(options)}
    for name in ("escalation_minutes", "patient_data", "private_network", "group_seconds", "per_hour"):
        if (value := getattr(wish, name)) is not None:
            changes[name] = value
    if wish.priorities is not None:
        changes["priorities"] = _priorities(wish.priorities)
    if wish.routes is not None:
        changes["routes"] = _routes(wish.routes, known_routes)
    if wish.credentials is not None:
        changes["credentials"] = str(wish.credentials.expanduser().absolute())
    security = options.security if isinstance(options, MailOptions) else None
    address = read_address(entry.kind, entry.address if wish.address is None else wish.address, security=security)
    return _consistent(replace(entry, address=address.written, **changes), address, options)


def changed(
    entry: ChannelEntry, wish: ChannelWish, clear: Collection[str], *, known_routes: Collection[str]
) -> ChannelEntry:
    """Return an entry with some options cleared and what is wished changed.

    Options of its kind may be cleared and given anew at once; any other is one or the other.
    """
    named = {option for option, name in _CLEARED.items() if option != "options" and getattr(wish, name) is not None}
    both = [option for option in clear if option in named]
    if both:
        raise ChannelInvalid(f"--{both[0]} is given and cleared at once: say one of the two")
    return wished(cleared(entry, clear), wish, known_routes=known_routes)


def cleared(entry: ChannelEntry, options: Collection[str]) -> ChannelEntry:
    """Return an entry in which some options are as if they had never been given."""
    unknown = [option for option in options if option not in _CLEARED]
    if unknown:
        raise ChannelInvalid(f"{unknown[0]!r} is no option to clear; these are: {', '.join(_CLEARED)}")
    plain = ChannelEntry("", entry.kind, "")
    return replace(entry, **{_CLEARED[option]: getattr(plain, _CLEARED[option]) for option in options})


def split_option(text: str) -> tuple[str, str]:
    """Return name and value of ``name=value``."""
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise ChannelInvalid(f"an option is written as NAME=VALUE, not {text!r}")
    return name.strip().replace("-", "_"), value


def _known_words(entry: ChannelEntry) -> Mapping[str, str]:
    return {} if entry.options == "{}" else option_words(kept_options(entry.kind, entry.options))


def _consistent(entry: ChannelEntry, address: ReceiverAddress, options: ChannelOptions) -> ChannelEntry:
    """See that limits can be kept, and that nothing travels to where it must not."""
    _check_limits(entry)
    if entry.kind is ChannelKind.HL7 and not entry.patient_data:
        raise ChannelNeedsPatientData(
            "an HL7 receiver files results under a patient and an order, so it cannot go without both: allow it "
            "patient data by --patient-data, or choose webhook, mail or fhir"
        )
    _check_credentials(entry)
    if _is_safe(address, options):
        return entry
    if entry.patient_data and entry.kind is not ChannelKind.HL7:
        raise ChannelInvalid(f"{entry.shown_address} would get patient data that anybody on the way can read: use TLS")
    if entry.credentials is not None and entry.kind in (ChannelKind.FHIR, ChannelKind.MAIL):
        raise ChannelInvalid(f"{entry.shown_address} would get credentials that anybody on the way can read: use TLS")
    if entry.kind in (ChannelKind.FHIR, ChannelKind.WEBHOOK) and not entry.private_network:
        raise ChannelInvalid(
            f"{entry.shown_address} is not by TLS: use https; http is for the own network (--private-network)"
        )
    return entry


def _is_safe(address: ReceiverAddress, options: ChannelOptions) -> bool:
    """Say whether nobody on the way can read what the channel is told: there is no way, or it is by TLS."""
    by_tls = options.security is not MailSecurity.PLAIN if isinstance(options, MailOptions) else address.tls
    return address.is_here or by_tls


def _check_limits(entry: ChannelEntry) -> None:
    minutes = entry.escalation_minutes
    if minutes is not None and not 1 <= minutes <= _LONGEST_MINUTES:
        raise ChannelInvalid(f"a study is escalated after 1 to {_LONGEST_MINUTES} minutes, not {minutes}")
    if not 0 <= entry.group_seconds <= _LONGEST_GROUP_SECONDS:
        raise ChannelInvalid(
            f"announcements are collected for 0 to {_LONGEST_GROUP_SECONDS} seconds, not {entry.group_seconds}"
        )
    if entry.per_hour is not None and entry.per_hour < 1:
        raise ChannelInvalid(f"a channel takes at least one message an hour, not {entry.per_hour}; pause it instead")


def _check_credentials(entry: ChannelEntry) -> None:
    if entry.credentials is None:
        if entry.kind is ChannelKind.WEBHOOK:
            raise ChannelInvalid(
                f"a webhook is signed: give the file of its secret (--credentials), of at least "
                f"{_SHORTEST_SIGNING_SECRET} characters; make one with `openssl rand -hex 32`"
            )
        return
    if entry.kind is ChannelKind.HL7:
        raise ChannelInvalid("an HL7 receiver takes no credentials; by mllps it is shown gateway.tls_certificate")
    path = Path(entry.credentials)
    lines = read_secret(path).splitlines()
    if is_exposed(path):
        raise FileUnusable(f"others than its owner can read {path}: chmod 600 {path}")
    if entry.kind is ChannelKind.WEBHOOK and min(map(len, lines)) < _SHORTEST_SIGNING_SECRET:
        raise ChannelInvalid(
            f"the secret in {path} is too short to sign with: at least {_SHORTEST_SIGNING_SECRET} characters"
        )


def _priorities(text: str) -> tuple[Priority, ...]:
    known = {priority.value.casefold(): priority for priority in Priority}
    words = _words(text)
    wrong = next((word for word in words if word.casefold() not in known), None)
    if wrong is not None or not words:
        raise ChannelInvalid(f"{wrong or text!r} is no priority; these are: {', '.join(Priority)}")
    return tuple(sorted({known[word.casefold()] for word in words}, key=lambda one: one.rank))


def _routes(text: str, known: Collection[str]) -> tuple[str, ...]:
    words = _words(text)
    wrong = next((word for word in words if word not in known), None)
    if wrong is not None or not words:
        raise ChannelInvalid(f"there is no route {wrong or text!r}; these are: {', '.join(sorted(known)) or 'none'}")
    return words


def _words(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
