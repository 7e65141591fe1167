"""Whom deliveries go to: the entries of the database and the addresses of the settings, each under its name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.orm import Session

from dicom_gateway.config import GatewaySettings
from dicom_gateway.destinations import Destination, WebAddress, parse_address
from storage import destinations
from storage.destinations import DestinationEntry


@dataclass(frozen=True, slots=True)
class Receiver:
    """One receiver as a sender needs it; None is no limit. ``transfer_syntaxes`` are UIDs.

    ``associations`` are as many as may be open to it at once, and ``kilobytes_per_second`` is for all of them together.
    """

    name: str
    address: Destination | WebAddress
    associations: int = 1
    objects_per_association: int | None = None
    kilobytes_per_second: int | None = None
    transfer_syntaxes: tuple[str, ...] | None = None
    credentials: Path | None = None
    paused: bool = False


def receivers(session: Session, settings: GatewaySettings) -> Mapping[str, Receiver]:
    """Return everybody that deliveries may be on their way to, by name.

    The addresses of the settings are among them also where an entry has the same one: what was put on its way before
    there was an entry goes out under the address.
    """
    named = (*settings.destinations, *settings.reject_superseded)
    return {
        **{text: addressed(text) for text in named},
        **{entry.name: of_entry(entry) for entry in destinations.entries(session)},
    }


def of_entry(entry: DestinationEntry) -> Receiver:
    """Return the receiver of an entry."""
    return Receiver(
        name=entry.name,
        address=parse_address(entry.address),
        associations=entry.associations,
        objects_per_association=entry.objects_per_association,
        kilobytes_per_second=entry.kilobytes_per_second,
        transfer_syntaxes=entry.transfer_syntaxes,
        credentials=None if entry.credentials is None else Path(entry.credentials),
        paused=entry.paused,
    )


def addressed(text: str) -> Receiver:
    """Return the receiver that an address stands for, without limits; ConfigurationError where it is none."""
    return Receiver(text, parse_address(text))
