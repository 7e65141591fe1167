"""Peers without an entry, against a gateway that lets in by entries alone, even from its own machine."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.attacked_gateway import AttackedGateway, attacked_gateway, under_attack
from tests.support.hostile import Hostile, at_once, connections
from tests.support.pdus import ASSOCIATE_RQ, associate_head, association_request, pdu
from tests.support.peers import run

pytestmark = pytest.mark.slow

_STRANGER, _OTHER_AT_A_KNOWN_ADDRESS = "127.0.0.66", "127.0.0.1"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Iterator[AttackedGateway]:
    """Return a gateway with one entry: MODALITY, from 127.0.0.1."""
    state = tmp_path_factory.mktemp("guarded") / "state"
    entry = ("--aet", "MODALITY", "--network", "127.0.0.1/32", "--state", str(state))

    def let_in() -> None:
        added = run(Path(sys.executable).with_name("oncue"), "peers", "add", "modality", *entry)
        assert added.returncode == 0, added.stdout

    with attacked_gateway(state, sqlite_template, prepare=let_in, admit_loopback=False) as gateway:
        yield gateway


def test_a_flood_of_strangers_is_turned_away_unread(guarded: AttackedGateway) -> None:
    """Nothing of an address that no entry has is read, a megabyte least of all."""
    request = pdu(ASSOCIATE_RQ, associate_head() + bytes(1 << 20))

    def ask(number: int) -> None:
        for _ in range(25):
            with Hostile(guarded.port, address=f"127.0.0.{100 + number}") as stranger:
                stranger.send(request)
                assert stranger.is_closed()

    rows, lines = guarded.rows(), len(guarded.log_lines())
    with under_attack(guarded, most_memory_bytes=24 << 20):
        at_once(8, ask)
    assert guarded.rows() - rows < 350
    assert len(guarded.log_lines()) - lines < 150


@pytest.mark.parametrize("address", [_STRANGER, _OTHER_AT_A_KNOWN_ADDRESS], ids=["stranger", "known address"])
def test_strangers_that_hold_connections_take_no_place_of_a_known_peer(guarded: AttackedGateway, address: str) -> None:
    with under_attack(guarded) as peer, contextlib.ExitStack() as stack:
        for greeting in (b"", b"\x01", association_request(calling_aet="STRANGER")):
            stack.enter_context(connections(guarded.port, 60, greeting, address=address))
        peer.asks(5)


def test_a_known_title_from_an_unknown_address_is_turned_away(guarded: AttackedGateway) -> None:
    with under_attack(guarded), Hostile(guarded.port, address=_STRANGER) as impostor:
        assert not impostor.associate(association_request(calling_aet="MODALITY"))


def test_guessed_titles_from_a_known_address_make_few_rows_and_few_log_lines(guarded: AttackedGateway) -> None:
    def guess(number: int) -> None:
        for attempt in range(100):
            with Hostile(guarded.port, address=_OTHER_AT_A_KNOWN_ADDRESS) as stranger:
                assert not stranger.associate(association_request(calling_aet=f"CT{number}-{attempt}"))

    rows, lines = guarded.rows(), len(guarded.log_lines())
    with under_attack(guarded):
        at_once(5, guess)
    assert guarded.rows() - rows < 350
    assert len(guarded.log_lines()) - lines < 150
