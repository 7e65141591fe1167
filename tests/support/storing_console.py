"""A console that takes objects over STOW-RS, and what is sent to it."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
from pydicom.dataset import Dataset
from sqlalchemy import select

from console.app import create_app
from console.config import ConsoleSettings
from dicom_gateway.config import GatewaySettings
from storage.database import Database, connect
from storage.models import InstanceRow
from storage.objects import ObjectStore
from tests.conftest import ROOT
from tests.support.gateways import until
from tests.support.peers import free_port
from tests.support.served_console import served
from tests.support.tokens import bearer, new_token

FAILED, REFERENCED, OTHER = "00081198", "00081199", "0008119A"
RELATED = 'multipart/related; type="application/dicom"; boundary=b'


@dataclass(frozen=True)
class Served:
    """A console that is served, with a token of its own."""

    port: int
    token: str
    database: Database
    objects: ObjectStore

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/dicom-web/studies"

    def post(self, content: bytes, path: str = "", **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return httpx.post(
            self.url + path,
            content=content,
            headers={"Content-Type": RELATED, **bearer(self.token), **named},
            timeout=60,
        )

    def stored(self, image: Dataset) -> bytes | None:
        """Return the file of an image as it is on record, None where there is none."""
        with self.database.read() as session:
            found = session.scalars(
                select(InstanceRow.digest).where(InstanceRow.sop_instance_uid == str(image.SOPInstanceUID))
            ).all()
        return self.objects.get(found[0]) if found else None


@contextlib.contextmanager
def storing_console(state: Path, template: Path) -> Iterator[Served]:
    """Serve a console that takes bodies of 4 MiB and instances of 1 MiB."""
    shutil.copy(template, state / "oncue.sqlite")
    database, objects = connect(f"sqlite:///{state / 'oncue.sqlite'}"), ObjectStore(state / "objects")
    settings = ConsoleSettings.model_validate({"stored_lane": "stat", "stored_megabytes": 4})
    app = create_app(database, objects, settings, gateway=GatewaySettings(maximum_instance_megabytes=1))
    token = new_token(database, "radiology-research-group")
    with served(app) as port:
        yield Served(port, token, database, objects)
    database.dispose()


def body(*parts: bytes, end: bytes = b"\r\n--b--\r\n", media_type: str = "application/dicom") -> bytes:
    """Return the body of a request with some parts."""
    head = f"\r\n--b\r\nContent-Type: {media_type}\r\n\r\n".encode()
    return b"".join(head + part for part in parts) + end


def uids(answer: httpx.Response, tag: str) -> list[str]:
    """Return the SOP Instance UIDs of one sequence of an answer."""
    return [item["00081155"]["Value"][0] for item in answer.json().get(tag, {}).get("Value", [])]


def reasons(answer: httpx.Response, tag: str) -> list[int]:
    """Return the reasons of failure of one sequence of an answer."""
    return [item["00081197"]["Value"][0] for item in answer.json().get(tag, {}).get("Value", [])]


def await_stored(server: Served, image: Dataset) -> None:
    """Wait until an image is on record."""
    until(lambda: server.stored(image) is not None, "an image on record")


@contextlib.contextmanager
def begun(server: Served, content: bytes) -> Iterator[socket.socket]:
    """Begin a request and send less of its body than it says."""
    head = (
        f"POST /dicom-web/studies HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nContent-Type: {RELATED}\r\n"
        f"Authorization: Bearer {server.token}\r\nContent-Length: {len(content) + 5000}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(head.encode() + content)
        yield connection


@contextlib.contextmanager
def console_process(state: Path, template: Path, **variables: str) -> Iterator[tuple[subprocess.Popen[bytes], Served]]:
    """Run `oncue console` over a state folder of its own until the block ends."""
    shutil.copy(template, state / "oncue.sqlite")
    database, objects = connect(f"sqlite:///{state / 'oncue.sqlite'}"), ObjectStore(state / "objects")
    token, port = new_token(database), free_port()
    command = [sys.executable, "-c", "from console.cli import main; main()", "console", "--state", str(state)]
    environment = {**os.environ, "ONCUE_CONSOLE_PORT": str(port), **variables}
    with (
        (state / "console.log").open("wb") as log,
        subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=log) as process,
    ):
        try:
            until(lambda: _answers(port), "the console")
            yield process, Served(port, token, database, objects)
        finally:
            process.kill()
    database.dispose()


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/healthz").status_code > 0
    except httpx.TransportError:
        return False
