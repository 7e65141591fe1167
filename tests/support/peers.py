"""Real DICOM peers as child processes on free loopback ports: Orthanc, and DCMTK's storescp and dcmqrscp.

A peer that is not installed skips the test on a laptop and fails it where ``ONCUE_REQUIRE_PEERS=1``.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.required import missing_peer

_START_SECONDS = 90.0
_POLL_SECONDS = 0.02
_STARTS = 3


def free_port() -> int:
    """Return a loopback port that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def executable(name: str) -> str:
    """Return a system program's path, looking past the virtual environment: pynetdicom has tools of the same name."""
    own = Path(sys.prefix) / "bin"
    folders = [folder for folder in os.environ.get("PATH", os.defpath).split(os.pathsep) if Path(folder) != own]
    found = shutil.which(name, path=os.pathsep.join([*folders, "/usr/sbin", "/usr/local/sbin"]))
    if found is None:
        missing_peer(f"{name} is not installed")
    return found


def environment_tool(name: str) -> str:
    """Return the path of a validator that the development dependencies install (dciodvfy, segimage2itkimage, ...)."""
    found = shutil.which(name, path=str(Path(sys.prefix) / "bin")) or shutil.which(name)
    if found is None:
        missing_peer(f"{name} is not installed")
    return found


def run(*command: str | Path, timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
    """Run a program to its end and return its exit code and both its outputs in ``stdout``."""
    return subprocess.run(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=timeout,
        check=False,
        env=_dcmtk_environment(),
    )


def storescu(
    called_aet: str, port: int, *files: Path, calling_aet: str = "MODALITY", options: Sequence[str | Path] = ()
) -> subprocess.CompletedProcess[str]:
    """Send files or folders with DCMTK's storescu; ``options`` go to its command line."""
    return run(
        executable("storescu"),
        "-v",
        *options,
        "+sd",
        "+r",
        "-R",
        "-aet",
        calling_aet,
        "-aec",
        called_aet,
        "127.0.0.1",
        str(port),
        *files,
    )


def echoscu(
    called_aet: str, port: int, *, calling_aet: str = "MODALITY", options: Sequence[str | Path] = ()
) -> subprocess.CompletedProcess[str]:
    """Verify with DCMTK's echoscu; exit code 0 is an answer, and ``options`` go to its command line."""
    return run(executable("echoscu"), "-v", *options, "-aet", calling_aet, "-aec", called_aet, "127.0.0.1", str(port))


@dataclass(frozen=True, slots=True)
class Orthanc:
    """A running Orthanc: where it listens, and its REST API for reading back what it holds."""

    ae_title: str
    port: int
    http_port: int

    def rest(self, method: str, path: str, body: bytes | None = None) -> bytes:
        """Call the REST API and return the body; AssertionError for any answer but 200."""
        connection = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=30)
        try:
            connection.request(method, path, body)
            response = connection.getresponse()
            content = response.read()
        finally:
            connection.close()
        assert response.status == http.client.OK, f"{method} {path}: {response.status}"
        return content

    def get(self, path: str) -> Any:
        """Return the JSON that a path of the REST API answers."""
        return json.loads(self.rest("GET", path))

    def sop_instance_uids(self) -> tuple[str, ...]:
        """Return the SOP Instance UIDs that Orthanc holds, sorted."""
        instances = self.get("/instances?expand")
        return tuple(sorted(instance["MainDicomTags"]["SOPInstanceUID"] for instance in instances))

    def file(self, sop_instance_uid: str) -> bytes:
        """Return the Part 10 bytes that Orthanc holds of one instance."""
        found = json.loads(self.rest("POST", "/tools/lookup", sop_instance_uid.encode()))
        identifier = next(entry["ID"] for entry in found if entry["Type"] == "Instance")
        return self.rest("GET", f"/instances/{identifier}/file")


@contextlib.contextmanager
def orthanc(
    folder: Path, *, ae_title: str = "ORTHANC", modalities: Sequence[tuple[str, int]] = (), **settings: Any
) -> Iterator[Orthanc]:
    """Run Orthanc with its storage under ``folder`` until the block ends.

    It answers to its own AE title only. ``modalities`` are (AE title, port) pairs it may send to over loopback;
    ``settings`` are further keys of its configuration file and win over the ones set here.
    """
    program = executable("Orthanc")

    def command(port: int) -> list[str]:
        configuration = _orthanc_configuration(folder, ae_title, port, modalities) | settings
        path = folder / "orthanc.json"
        path.write_text(json.dumps(configuration))
        return [program, str(path)]

    with _running(command, folder / "orthanc.log") as port:
        configuration = json.loads((folder / "orthanc.json").read_text())
        peer = Orthanc(ae_title=ae_title, port=port, http_port=configuration["HttpPort"])
        _until(lambda: _listens(peer.http_port), "Orthanc's REST API")
        yield peer


def _orthanc_configuration(
    folder: Path, ae_title: str, port: int, modalities: Sequence[tuple[str, int]]
) -> dict[str, Any]:
    return {
        "Name": ae_title,
        "DicomAet": ae_title,
        "DicomPort": port,
        "DicomCheckCalledAet": True,
        "HttpPort": free_port(),
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "StorageDirectory": str(folder / "orthanc"),
        "IndexDirectory": str(folder / "orthanc"),
        "StableAge": 1,
        "ConcurrentJobs": 1,
        "HttpThreadsCount": 4,
        "DicomModalities": {name: [name, "127.0.0.1", other] for name, other in modalities},
    }


@dataclass(frozen=True, slots=True)
class StoreScp:
    """A running DCMTK storescp: where it listens, and the folder it writes to."""

    ae_title: str
    port: int
    folder: Path
    log: Path

    def files(self) -> tuple[Path, ...]:
        """Return the files it wrote, sorted by name."""
        return tuple(sorted(path for path in self.folder.iterdir() if path.is_file()))


@contextlib.contextmanager
def dcmtk_storescp(folder: Path, *options: str, ae_title: str = "STORESCP") -> Iterator[StoreScp]:
    """Run DCMTK's storescp, which writes below ``folder``, until the block ends; ``options`` go to its command line."""
    program = executable("storescp")
    received = folder / "received"
    received.mkdir(parents=True, exist_ok=True)
    log = folder / "storescp.log"

    def command(port: int) -> list[str]:
        return [program, "-v", "-pdu", "131072", "-dhl", "-aet", ae_title, "-od", str(received), *options, str(port)]

    with _running(command, log) as port:
        yield StoreScp(ae_title=ae_title, port=port, folder=received, log=log)


@contextlib.contextmanager
def dcmtk_archive(
    folder: Path, *, ae_title: str = "ARCHIVE", hosts: Sequence[tuple[str, int]] = ()
) -> Iterator[StoreScp]:
    """Run DCMTK's dcmqrscp, an archive that also answers C-FIND, C-GET and C-MOVE, until the block ends.

    It sends to the (AE title, port) pairs of ``hosts`` over loopback, and to nobody else.
    """
    program = executable("dcmqrscp")
    received = folder / "archive"
    received.mkdir(parents=True, exist_ok=True)
    settings = folder / "dcmqrscp.cfg"
    log = folder / "dcmqrscp.log"
    table = "".join(f"{name.lower()} = ({name}, 127.0.0.1, {port})\n" for name, port in hosts)

    def command(port: int) -> list[str]:
        settings.write_text(
            f"NetworkTCPPort = {port}\nMaxPDUSize = 131072\nMaxAssociations = 16\n"
            f"HostTable BEGIN\n{table}HostTable END\nVendorTable BEGIN\nVendorTable END\n"
            f"AETable BEGIN\n{ae_title} {received} RW (200, 1024mb) ANY\nAETable END\n"
        )
        return [program, "-v", "-c", str(settings), str(port)]

    with _running(command, log) as port:
        yield StoreScp(ae_title=ae_title, port=port, folder=received, log=log)


@contextlib.contextmanager
def _running(command: Callable[[int], list[str]], log: Path) -> Iterator[int]:
    """Start a server on a free port, wait until it listens, yield the port, and end the server."""
    process, port = _started(command, log)
    try:
        yield port
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _started(command: Callable[[int], list[str]], log: Path) -> tuple[subprocess.Popen[bytes], int]:
    """Start a server; another program may take the free port first, so try a few."""
    for _ in range(_STARTS):
        port = free_port()
        with log.open("ab") as output:
            process = subprocess.Popen(
                command(port), stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=_dcmtk_environment()
            )
        _until(lambda process=process, port=port: process.poll() is not None or _listens(port), log.stem)  # type: ignore[misc]  # a lambda's bound defaults have no types
        if process.poll() is None:
            return process, port
    pytest.fail(f"{log.stem} did not start:\n{log.read_text(errors='replace')[-2000:]}")


def _until(condition: Callable[[], bool], what: str) -> None:
    """Wait until a server of another process is ready; there is no event to await, so ask again and again."""
    deadline = time.monotonic() + _START_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"{what} was not ready within {_START_SECONDS:.0f} s")
        time.sleep(_POLL_SECONDS)


def _listens(port: int) -> bool:
    with contextlib.closing(socket.socket()) as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _dcmtk_environment() -> dict[str, str]:
    """Nagle's algorithm makes loopback transfers crawl; DCMTK turns it off only when asked."""
    return {**os.environ, "TCP_NODELAY": "1"}
