"""STOW-RS that is cut off: bodies that end too early, clients that fall silent, a console that ends or dies."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import select

from console.app import create_app
from console.config import ConsoleSettings
from dicom_gateway.config import GatewaySettings
from storage.database import Database
from storage.models import InstanceRow
from storage.objects import ObjectStore
from tests.support.gateways import half_received, running_gateway, until
from tests.support.part10 import part10
from tests.support.senders import ct_image
from tests.support.served_console import served
from tests.support.storing_console import (
    FAILED,
    OTHER,
    REFERENCED,
    RELATED,
    Served,
    await_stored,
    begun,
    body,
    console_process,
    storing_console,
    uids,
)
from tests.support.tokens import bearer, new_token


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Iterator[Served]:
    with storing_console(tmp_path_factory.mktemp("state"), sqlite_template) as running:
        yield running


@pytest.mark.parametrize("rest", [b"", b"\r\n--b\r\nContent-Type: application/dicom\r\n\r\n" + part10()[:500]])
def test_what_was_whole_stays_stored_where_the_body_ends_too_early(console: Served, rest: bytes) -> None:
    image = ct_image("early", len(rest))
    end = rest or b"\r\n--b"
    answer = console.post(body(part10(image), end=end))
    assert (answer.status_code, uids(answer, REFERENCED)) == (202, [image.SOPInstanceUID])
    assert len(answer.json().get(OTHER, answer.json().get(FAILED))["Value"]) == 1
    assert "the body ends" in answer.headers["warning"]


def test_a_chunked_body_is_cut_at_its_bound_and_what_came_before_stays_stored(console: Served) -> None:
    image = ct_image("bound")

    def pieces() -> Iterator[bytes]:
        yield body(part10(image), end=b"")
        for _ in range(80):
            yield body(b"x" * (1 << 16), end=b"")

    answer = httpx.post(
        console.url, content=pieces(), headers={"Content-Type": RELATED, **bearer(console.token)}, timeout=60
    )
    assert (answer.status_code, uids(answer, REFERENCED)) == (202, [image.SOPInstanceUID])
    assert "larger than 4 MiB" in answer.headers["warning"]


def test_a_client_that_hangs_up_leaves_what_was_whole_and_the_server_at_work(console: Served) -> None:
    image = ct_image("hung-up")
    with begun(console, body(part10(image), part10()[:300], end=b"")):
        until(lambda: console.stored(image) is not None, "the image that was whole")
    assert console.post(body(part10(ct_image("hung-up", 2)))).status_code == 200


@pytest.mark.slow
def test_no_value_of_metadata_reaches_the_log(tmp_path: Path, sqlite_template: Path) -> None:
    found = ct_image("quoted")
    del found.PixelData
    content = found.to_json_dict()
    for tag, vr in (("00100040", "CS"), ("00101010", "AS")):
        content[tag] = {"vr": vr, "Value": [f"secret-of-nobody-{vr}"]}
    with console_process(tmp_path, sqlite_template) as (process, server):
        answer = server.post(
            body(json.dumps([content]).encode(), media_type="application/dicom+json"),
            Content_Type=RELATED.replace("dicom", "dicom+json"),
        )
        assert answer.status_code == 200
        process.terminate()
        process.wait(60)
    said = (tmp_path / "console.log").read_bytes()
    assert b"Application startup complete" in said
    assert b"secret" not in said


def test_whoever_falls_silent_is_answered_and_what_came_before_stays_stored(
    sqlite_database: Database, tmp_path: Path
) -> None:
    objects, image = ObjectStore(tmp_path), ct_image("silent")
    app = create_app(sqlite_database, objects, ConsoleSettings(), gateway=GatewaySettings(network_seconds=0.5))
    token = new_token(sqlite_database)
    with served(app) as port:
        server = Served(port, token, sqlite_database, objects)
        with begun(server, body(part10(image), part10()[:300], end=b"")) as connection:
            answered = connection.recv(1 << 16)
        with begun(server, b"--b\r\n") as connection:
            late = connection.recv(1 << 16)
    assert answered.startswith(b"HTTP/1.1 202 ")
    assert late.startswith(b"HTTP/1.1 408 ")
    assert server.stored(image) is not None


def test_whoever_sends_a_byte_now_and_then_keeps_no_place(sqlite_database: Database, tmp_path: Path) -> None:
    app = create_app(
        sqlite_database, ObjectStore(tmp_path), ConsoleSettings(), gateway=GatewaySettings(network_seconds=0.5)
    )
    token, answered = new_token(sqlite_database), b""
    with served(app) as port, begun(Served(port, token, sqlite_database, ObjectStore(tmp_path)), b"") as connection:
        connection.settimeout(0.1)
        for _ in range(100):
            connection.sendall(b"x")
            with contextlib.suppress(TimeoutError):
                answered = connection.recv(1 << 16)
                break
    assert answered.startswith(b"HTTP/1.1 408 ")


def test_more_requests_than_are_carried_out_at_once_are_told_to_come_again(console: Served) -> None:
    image = ct_image("busy")
    with contextlib.ExitStack() as stack:
        for number in range(8):
            first = ct_image("busy", 10 + number)
            stack.enter_context(begun(console, body(part10(first), end=b"\r\n--b")))
            await_stored(console, first)
        refused = console.post(body(part10(image)))
    assert (refused.status_code, refused.json()["code"]) == (503, "too_busy")
    assert int(refused.headers["retry-after"]) > 0
    until(lambda: console.post(body(part10(image))).status_code == 200, "room for a request")


@pytest.mark.slow
def test_a_console_that_is_told_to_end_does_not_wait_for_a_sender_that_is_silent(
    tmp_path: Path, sqlite_template: Path
) -> None:
    image = ct_image("ending")
    with console_process(tmp_path, sqlite_template, ONCUE_GATEWAY_DRAIN_SECONDS="0.5") as (process, server):
        with begun(server, body(part10(image), end=b"\r\n--b")) as connection:
            await_stored(server, image)
            process.terminate()
            answered = connection.recv(1 << 16)
        process.wait(20)
    assert answered.startswith(b"HTTP/1.1 202 ")
    assert b"the server ends" in answered


@pytest.mark.slow
def test_every_instance_that_was_said_to_be_stored_is_there_after_a_kill(tmp_path: Path, sqlite_template: Path) -> None:
    reported: list[str] = []
    with console_process(tmp_path, sqlite_template) as (process, server):
        for number in range(20):
            images = [ct_image("kill", 3 * number + one) for one in range(3)]
            reported += uids(server.post(body(*map(part10, images))), REFERENCED)
        process.kill()
        process.wait()
        assert len(reported) == 60
        with running_gateway(server.database, server.objects):
            until(lambda: half_received(server.objects) == [], "the registration of what the dead console left")
        with server.database.read() as session:
            found = set(session.scalars(select(InstanceRow.sop_instance_uid)))
    assert set(reported) <= found
