"""Where the destination of a C-MOVE is: what peers' entries, destinations and settings say of its AE title."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy.orm import Session

from dicom_gateway.config import GatewaySettings
from dicom_gateway.destinations import Destination
from dicom_gateway.errors import MoveDestinationUnknown
from dicom_gateway.receivers import Receiver, addressed, of_entry
from storage import destinations, peers


def receiver(session: Session, ae_title: str, *, peer: str, settings: GatewaySettings) -> Receiver:
    """Return who an AE title is; MoveDestinationUnknown where nobody said.

    ``peer`` is the name of the entry of whoever asks: its own address is the first that counts, then those of other
    peers and of destinations, by name, then the settings'.
    """
    found = next(_candidates(session, ae_title, peer=peer, settings=settings), None)
    if found is None:
        raise MoveDestinationUnknown("the destination is no known AE title: oncue peers add --store-address")
    return found


def _candidates(session: Session, ae_title: str, *, peer: str, settings: GatewaySettings) -> Iterator[Receiver]:
    for entry in sorted(peers.entries(session), key=lambda entry: entry.name != peer):
        if entry.store_address is None or not entry.allowed:
            continue
        one = addressed(entry.store_address)
        # A peer is known by the title that it calls itself, and by the one that it takes objects under.
        if ae_title in (entry.calling_aet, _title(one)):
            yield one
    named = (of_entry(entry) for entry in destinations.entries(session))
    yield from (one for one in (*named, *map(addressed, settings.destinations)) if _title(one) == ae_title)


def _title(receiver: Receiver) -> str | None:
    """Return the title of a receiver; None of a DICOMweb service."""
    return receiver.address.ae_title if isinstance(receiver.address, Destination) else None
