"""Whom deliveries go to, each under its name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.orm import Session

from dicom_gateway.config import GatewaySettings
from dicom_gateway.destinations import Destination
from dicom_gateway.http_exchange import WebService


@dataclass(frozen=True, slots=True)
class Receiver:
    """One receiver as a sender needs it; None is no limit. ``transfer_syntaxes`` are UIDs.

    ``associations`` are as many as may be open to it at once, and ``kilobytes_per_second`` is for all of them together.
    """

    name: str
    address: Destination | WebService
    associations: int = 1
    objects_per_association: int | None = None
    kilobytes_per_second: int | None = None
    transfer_syntaxes: tuple[str, ...] | None = None
    credentials: Path | None = None
    paused: bool = False


def receivers(session: Session, settings: GatewaySettings) -> Mapping[str, Receiver]:
    """Return everybody that deliveries may be on their way to, by name."""
    del session
    return {text: addressed(text) for text in (*settings.destinations, *settings.reject_superseded)}


def addressed(text: str) -> Receiver:
    """Return the receiver that an address stands for, without limits; ConfigurationError where it is none."""
    return Receiver(text, Destination.parse(text))
