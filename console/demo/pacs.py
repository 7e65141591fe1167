"""The PACS of the demonstration: Orthanc where it is installed, a storage SCP of our own otherwise."""

from __future__ import annotations

import contextlib
import http.client
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol

import pydicom
from pydicom.dataset import Dataset

from dicom_gateway.receiving.file_receiver import Receiver, running_receiver
from storage.errors import OncueError

_START_SECONDS = 90.0
_STARTS = 3
"""Another program may take a free port before Orthanc does."""
_POLL_SECONDS = 0.05
_HTTP_SECONDS = 30


class PacsFailed(OncueError):
    """The demonstration's PACS did not start or did not answer."""

    code = "demo_pacs_failed"


class Pacs(Protocol):
    """A PACS that holds what it was sent."""

    @property
    def title(self) -> str:
        """What it is, for people."""
        ...

    @property
    def destination(self) -> str:
        """Where it takes objects, as ``AET@HOST:PORT``."""
        ...

    def objects(self) -> tuple[Dataset, ...]:
        """Return every object that it holds."""
        ...


@dataclass(frozen=True, slots=True)
class OwnPacs:
    """The storage SCP of our own."""

    receiver: Receiver
    title: str = "storage SCP"

    @property
    def destination(self) -> str:
        """Where it takes objects."""
        return f"{self.receiver.ae_title}@127.0.0.1:{self.receiver.port}"

    def objects(self) -> tuple[Dataset, ...]:
        """Return every object that it holds."""
        return tuple(pydicom.dcmread(path) for path in self.receiver.files())


@dataclass(frozen=True, slots=True)
class OrthancPacs:
    """A running Orthanc, read back through its REST API."""

    port: int
    http_port: int
    title: str = "Orthanc"

    @property
    def destination(self) -> str:
        """Where it takes objects."""
        return f"ORTHANC@127.0.0.1:{self.port}"

    def objects(self) -> tuple[Dataset, ...]:
        """Return every object that it holds."""
        names: list[str] = json.loads(self._get("/instances"))
        return tuple(pydicom.dcmread(BytesIO(self._get(f"/instances/{name}/file"))) for name in names)

    def answers(self) -> bool:
        """Say whether its REST API and its DICOM port are there."""
        try:
            self._get("/system")
            with socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return True
        except (OSError, PacsFailed, http.client.HTTPException):
            return False

    def _get(self, path: str) -> bytes:
        with contextlib.closing(
            http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=_HTTP_SECONDS)
        ) as connection:
            connection.request("GET", path)
            response = connection.getresponse()
            content = response.read()
        if response.status != http.HTTPStatus.OK:
            raise PacsFailed(f"Orthanc answered {response.status} to {path}")
        return content


@contextlib.contextmanager
def running_pacs(folder: Path) -> Iterator[Pacs]:
    """Run a PACS with its files below ``folder`` until the block ends."""
    program = shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        with running_receiver(folder / "pacs") as receiver:
            yield OwnPacs(receiver)
        return
    with _orthanc(program, folder) as pacs:
        yield pacs


@contextlib.contextmanager
def _orthanc(program: str, folder: Path) -> Iterator[OrthancPacs]:
    process, pacs = _started(program, folder)
    try:
        yield pacs
    finally:
        _end(process)


def _started(program: str, folder: Path) -> tuple[subprocess.Popen[bytes], OrthancPacs]:
    """Start Orthanc and wait until it answers; where it ends instead, try other ports."""
    for _ in range(_STARTS):
        pacs = OrthancPacs(_free_port(), _free_port())
        configuration = folder / "orthanc.json"
        configuration.write_text(json.dumps(_configuration(pacs, folder / "pacs")))
        with (folder / "orthanc.log").open("ab") as log:
            process = subprocess.Popen([program, str(configuration)], stdin=subprocess.DEVNULL, stdout=log, stderr=log)  # noqa: S603 - found above, with a file of ours
        try:
            if _comes_up(process, pacs):
                return process, pacs
        except BaseException:  # an interruption, too, leaves no server behind
            _end(process)
            raise
        _end(process)
    raise PacsFailed(f"Orthanc did not start; see {folder / 'orthanc.log'}")


def _comes_up(process: subprocess.Popen[bytes], pacs: OrthancPacs) -> bool:
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        if pacs.answers():
            return True
        time.sleep(_POLL_SECONDS)
    return False


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait()


def _configuration(pacs: OrthancPacs, store: Path) -> dict[str, Any]:
    return {
        "Name": "oncue demonstration",
        "DicomAet": "ORTHANC",
        "DicomPort": pacs.port,
        "DicomCheckCalledAet": True,
        "HttpPort": pacs.http_port,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "StorageDirectory": str(store),
        "IndexDirectory": str(store),
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
