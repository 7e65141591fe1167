"""Receivers of results by their names: where each is, what it may be asked of, and whether anything is sent there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy.orm import Session

from dicom_gateway.config import GatewaySettings
from dicom_gateway.destinations import Destination


@dataclass(frozen=True, slots=True)
class SendLimits:
    """What one association with a receiver is held to; None is no limit.

    ``kilobytes_per_second`` counts 1,000 bytes each. ``transfer_syntaxes`` are UIDs: no other ones are proposed.
    """

    objects_per_association: int | None = None
    kilobytes_per_second: int | None = None
    transfer_syntaxes: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Receiver:
    """Somebody who gets results, under the name that deliveries know it by.

    ``associations`` are as many as may be open to it at once, over all processes. ``limits`` hold for all of them
    together where they are of bandwidth. ``credentials`` is the path of a file.
    """

    name: str
    address: Destination
    limits: SendLimits = field(default_factory=SendLimits)
    associations: int = 1
    paused: bool = False
    credentials: Path | None = None

    @classmethod
    def at(cls, address: str) -> Receiver:
        """Return the receiver that an address names, without any limit; ConfigurationError where it is none."""
        return cls(name=address, address=Destination.parse(address))


ReceiversNow = Callable[[Session], Mapping[str, Receiver]]
"""Reads the receivers as they stand, by name."""


def of_settings(settings: GatewaySettings) -> ReceiversNow:
    """Return what reads the receivers of the settings, which never change."""
    known = {address: Receiver.at(address) for address in settings.destinations}
    return lambda _session: known


def named(known: Mapping[str, Receiver], name: str) -> Receiver:
    """Return the receiver with a name; one that no entry has may be an address, for what was sent there on request.

    ConfigurationError where it is neither.
    """
    return known[name] if name in known else Receiver.at(name)
