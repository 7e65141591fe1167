"""Where the destination of a C-MOVE is: what peers' entries, destinations and settings say of its AE title."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy.orm import Session

from dicom_gateway.config import GatewaySettings
from dicom_gateway.destinations import Destination
from dicom_gateway.errors import MoveDestinationUnknown
from dicom_gateway.receivers import Receiver, addressed, of_entry
from storage import destinations, peers
from storage.peers import PeerEntry


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
    entries = sorted(peers.entries(session), key=lambda entry: entry.name != peer)
    for entry in entries:
        if entry.store_address is not None and entry.allowed and _is_called(entry, ae_title):
            yield addressed(entry.store_address)
    named = (of_entry(entry) for entry in destinations.entries(session))
    for one in (*named, *map(addressed, settings.destinations)):
        if isinstance(one.address, Destination) and one.address.ae_title == ae_title:
            yield one


def _is_called(entry: PeerEntry, ae_title: str) -> bool:
    """Say whether a peer is known by a title: the one that it calls itself, or the one that it takes objects under."""
    return ae_title in (entry.calling_aet, (entry.store_address or "").rpartition("@")[0].removeprefix("tls://"))
