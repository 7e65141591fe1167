"""`oncue send`: what it says where files are not accepted."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.database import Database
from storage.objects import ObjectStore
from tests.support.commands import oncue
from tests.support.gateways import running_gateway
from tests.support.peers import free_port
from tests.support.senders import ct_image


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "images"
    made.mkdir()
    for number in range(12):
        ct_image(number=number).save_as(made / f"{number:02}.dcm", enforce_file_format=True)
    return made


def test_an_association_that_cannot_be_opened_is_said_once_and_not_for_each_file(folder: Path) -> None:
    target = f"ONCUE@127.0.0.1:{free_port()}"
    ran = oncue("send", folder, target)
    first, reason = ran.out.splitlines()
    assert ran.code == 1
    assert first == f"0 of 12 instances accepted by {target}"
    assert reason.startswith(f"  {folder / '00.dcm'} and 11 more: [peer_unreachable] ")
    outcomes = oncue("send", folder, target, "--json").json
    assert [one["code"] for one in outcomes] == ["peer_unreachable"] * 12


def test_a_file_that_is_refused_is_named(folder: Path, sqlite_database: Database, objects: ObjectStore) -> None:
    ct_image(number=99, rows=1024).save_as(folder / "large.dcm", enforce_file_format=True)
    with running_gateway(sqlite_database, objects, maximum_instance_megabytes=1) as running:
        target = f"ONCUE@127.0.0.1:{running.port}"
        ran = oncue("send", folder, target)
    said = ran.out.splitlines()
    assert ran.code == 1
    at = said.index(f"12 of 13 instances accepted by {target}")
    assert said[at + 1].startswith(f"  {folder / 'large.dcm'}: [peer_unreachable] ")
