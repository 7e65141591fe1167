"""Where the destination of a C-MOVE is looked for, and in which order."""

from __future__ import annotations

import pytest

from dicom_gateway.config import GatewaySettings
from dicom_gateway.errors import MoveDestinationUnknown
from dicom_gateway.queries import move_destinations
from storage import destinations, peers
from storage.database import Database, utc_now
from storage.destinations import DestinationEntry
from storage.peers import PeerEntry

SETTINGS = GatewaySettings(destinations=("PACS@10.0.0.9:104", "WS1@10.0.0.8:104"))
PEERS = (
    PeerEntry("a-blocked", "WS2", store_address="WS2@10.0.0.1:104", allowed=False),
    PeerEntry("b-other", "WS1", store_address="WS1@10.0.0.2:104"),
    PeerEntry("c-own", "VIEWER", store_address="tls://WS1@10.0.0.3:2762"),
    PeerEntry("d-sender", "CT1"),
    PeerEntry("e-taker", "READER", store_address="READERSTORE@10.0.0.4:104"),
)


@pytest.fixture
def said(sqlite_database: Database) -> Database:
    with sqlite_database.write() as session:
        for entry in PEERS:
            peers.add(session, entry, actor="test", now=utc_now())
        for name, address in (("web", "https://pacs/dicom-web"), ("arch", "ARCHIVE@10.0.0.5:104")):
            slow = DestinationEntry(name, address, kilobytes_per_second=700)
            destinations.add(session, slow, actor="test", now=utc_now())
    return sqlite_database


@pytest.mark.parametrize(
    ("title", "peer", "address"),
    [
        ("WS1", "c-own", "tls://WS1@10.0.0.3:2762"),
        ("WS1", "e-taker", "WS1@10.0.0.2:104"),
        ("VIEWER", "e-taker", "tls://WS1@10.0.0.3:2762"),
        ("READER", "b-other", "READERSTORE@10.0.0.4:104"),
        ("READERSTORE", "b-other", "READERSTORE@10.0.0.4:104"),
        ("ARCHIVE", "b-other", "ARCHIVE@10.0.0.5:104"),
        ("PACS", "b-other", "PACS@10.0.0.9:104"),
    ],
    ids=["own first", "another's", "title that calls", "title of a peer", "title that stores", "entry", "settings"],
)  # fmt: skip # reads by its lines
def test_a_title_is_looked_for_at_the_caller_then_at_peers_then_at_destinations(
    said: Database, title: str, peer: str, address: str
) -> None:
    with said.read() as session:
        found = move_destinations.receiver(session, title, peer=peer, settings=SETTINGS)
    assert str(found.address) == address
    assert found.kilobytes_per_second == (700 if title == "ARCHIVE" else None)


@pytest.mark.parametrize("title", ["", "WS2", "CT1", "ws1", "pacs"])
def test_a_title_that_nobody_says_more_of_is_unknown(said: Database, title: str) -> None:
    with said.read() as session, pytest.raises(MoveDestinationUnknown):
        move_destinations.receiver(session, title, peer="c-own", settings=SETTINGS)
