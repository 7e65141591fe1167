"""The doctor's probe of the channels, and a try of one from the command line, against receivers that run or do not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.console.conftest import Place
from tests.support.commands import oncue
from tests.support.hl7_receiver import acknowledging, hl7_receiver
from tests.support.peers import free_port
from tests.support.stow_service import saying, stow_service


def channels(place: Place, *words: object) -> Any:
    return oncue("channels", *words, "--state", place.state)


def examined(place: Place) -> list[tuple[str, str]]:
    found = oncue("doctor", "--only", "channels", "--json", "--state", place.state).json
    return [(part["verdict"], part["detail"]) for part in found]


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    file = tmp_path / "secret"
    file.write_text("f" * 64)
    file.chmod(0o600)
    return file


def test_a_receiver_that_is_there_would_take_announcements(place: Place, secret: Path) -> None:
    with hl7_receiver(acknowledging()) as ris, stow_service(saying(204)) as pager:
        address = f"http://127.0.0.1:{pager.address.port}/hook"
        channels(place, "add", "ris", "hl7", ris.address, "--patient-data")
        channels(place, "add", "pager", "webhook", address, "--credentials", secret, "--private-network")
        tried = channels(place, "test", "ris")
        assert (tried.code, tried.out) == (0, f"channel ris would take announcements at {ris.address}\n"), tried.err
        assert channels(place, "test", "pager", "--json").json["passed"] is True
        verdicts = [verdict for verdict, _ in examined(place)]
        assert verdicts == ["fine", "remark", "fine"]  # plain MLLP is worth a remark
        assert ris.messages == []


def test_what_keeps_announcements_from_a_channel_is_named(place: Place, secret: Path) -> None:
    assert examined(place) == [("fine", "none: nobody is told of urgent studies; oncue channels add NAME KIND ADDRESS")]
    address = f"http://127.0.0.1:{free_port()}/hook"
    channels(place, "add", "pager", "webhook", address, "--credentials", secret, "--escalate-after", 5)
    refused = channels(place, "test", "pager")
    assert (refused.code, "[address_in_own_network]" in refused.out) == (1, True)
    channels(place, "change", "pager", "--private-network")
    secret.chmod(0o644)
    found = examined(place)
    assert [verdict for verdict, _ in found] == ["remark", "broken", "remark"]
    assert "chmod 600" in found[0][1]
    assert "[peer_unreachable]" in found[1][1]
    assert "nobody is told at once" in found[2][1]
    channels(place, "pause", "pager")
    assert "oncue channels resume pager" in examined(place)[0][1]
