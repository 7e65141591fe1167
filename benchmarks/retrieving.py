"""WADO-RS of a series, and QIDO-RS pages: oncue's console beside Orthanc's DICOMweb plugin, on the same files.

Both run as child processes on loopback and hold the same generated CT series (512 x 512, 16 bits). One client asks each
in turn for the whole series as it is stored, for its metadata, and for a page of its instances. Run:
``python -m benchmarks.retrieving [--images N] [--repeats N] [--json]``.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
import pydicom

from benchmarks.ingest import write_images
from tests.support.peers import free_port, orthanc

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
_ONCUE = "oncue"
_PIECE = 1 << 20
_START_SECONDS = 60.0
_STORED = 'multipart/related; type="application/dicom"; transfer-syntax=*'
_JSON = "application/dicom+json"


@dataclass(frozen=True, slots=True)
class Server:
    """One DICOMweb service to measure."""

    name: str
    port: int
    process: psutil.Process

    def cpu_seconds(self) -> float:
        """Return the processor time that it has used."""
        times = self.process.cpu_times()
        return float(times.user + times.system)


@dataclass(frozen=True, slots=True)
class Question:
    """One request, by what it is called in the result."""

    name: str
    path: str
    accept: str


@dataclass(frozen=True, slots=True)
class Result:
    """What a server took for a request: the median of the repeats; the first one, which read anew; and the rate.

    ``cpu_milliseconds`` is the server's own processor time, which other work of the machine does not change much.
    """

    server: str
    request: str
    milliseconds: float
    first_milliseconds: float
    cpu_milliseconds: float
    megabytes: float
    megabytes_per_second: float


@dataclass(frozen=True, slots=True)
class Run:
    """One request: seconds that passed, seconds of the server's processor, and bytes of the body."""

    seconds: float
    cpu_seconds: float
    size_bytes: int


def ask(server: Server, question: Question) -> Run:
    """Ask once; the body is read in large pieces and dropped."""
    used = server.cpu_seconds()
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=600)
    started = time.perf_counter()
    connection.request("GET", question.path, headers={"Accept": question.accept})
    response = connection.getresponse()
    size, buffer = 0, bytearray(_PIECE)
    while count := response.readinto(buffer):
        size += count
    seconds = time.perf_counter() - started
    connection.close()
    if response.status not in (200, 204):
        raise SystemExit(f"{server.name} answered {response.status} to {question.name}")
    return Run(seconds, server.cpu_seconds() - used, size)


def measure(servers: list[Server], questions: list[Question], repeats: int) -> list[Result]:
    """Ask every server every question in turn, so that drift hits all alike."""
    runs: dict[tuple[str, str], list[Run]] = {}
    for _ in range(repeats):
        for question in questions:
            for server in servers:
                runs.setdefault((server.name, question.name), []).append(ask(server, question))
    return [_result(server, request, found) for (server, request), found in runs.items()]


def _result(server: str, request: str, runs: list[Run]) -> Result:
    median, megabytes = statistics.median(run.seconds for run in runs), runs[0].size_bytes / 1e6
    cpu = statistics.median(run.cpu_seconds for run in runs)
    first, rate = round(runs[0].seconds * 1000, 1), round(megabytes / median, 1)
    return Result(server, request, round(median * 1000, 1), first, round(cpu * 1000, 1), round(megabytes, 2), rate)


@contextlib.contextmanager
def console(state: Path, files: Path) -> Iterator[Server]:
    """Run oncue's console as a process of its own on the files of a folder."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.retrieving", "--serve", str(port), str(state), str(files)]
    )
    try:
        _wait_for(lambda: _listens(port))
        yield Server(_ONCUE, port, psutil.Process(process.pid))
    finally:
        process.terminate()
        process.wait(30)


def serve(port: int, state: Path, files: Path) -> None:
    """Put files on record as if they had been received, and serve them as the console does."""
    import uvicorn

    from console.app import create_app
    from console.config import ConsoleSettings
    from console.serving import RestingServer
    from dicom_gateway.queries.indexing import Indexing
    from storage import migrate
    from storage.database import connect
    from storage.objects import ObjectStore
    from tests.support.held import hold_files

    database, objects = connect(f"sqlite:///{state / 'oncue.sqlite'}"), ObjectStore(state / "objects")
    migrate.upgrade(database)
    objects.prepare()
    hold_files(database, objects, sorted(files.iterdir()))
    Indexing(database, objects, waiting=lambda: 0).read_due()
    app = create_app(database, objects, ConsoleSettings())
    RestingServer(uvicorn.Config(app, port=port, access_log=False, log_config=None, server_header=False)).run()


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), contextlib.closing(http.client.HTTPConnection("127.0.0.1", port)) as connection:
        connection.connect()
        return True
    return False


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit("the server did not start")
        time.sleep(0.05)


def run(images: int, repeats: int) -> list[Result]:
    """Measure both on one series."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        root = Path(folder)
        files = root / "files"
        write_images(files, images)
        header = pydicom.dcmread(next(files.iterdir()), stop_before_pixels=True)
        series = f"/dicom-web/studies/{header.StudyInstanceUID}/series/{header.SeriesInstanceUID}"
        for name in ("oncue", "orthanc"):
            (root / name).mkdir()
        servers = [stack.enter_context(console(root / "oncue", files))]
        if PLUGIN.exists():
            before = set(psutil.Process().children())
            peer = stack.enter_context(orthanc(root / "orthanc", Plugins=[str(PLUGIN)]))
            (process,) = set(psutil.Process().children()) - before
            for path in files.iterdir():
                peer.rest("POST", "/instances", path.read_bytes())
            servers.append(Server("Orthanc, DICOMweb plugin", peer.http_port, process))
        questions = [
            Question("series", series, _STORED),
            Question("metadata of the series", f"{series}/metadata", _JSON),
            Question("page of 100 instances", f"{series}/instances?limit=100", _JSON),
            Question("page of 100 studies", "/dicom-web/studies?limit=100", _JSON),
        ]
        return measure(servers, questions, repeats)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", nargs=3, metavar=("PORT", "STATE", "FILES"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        port, state, files = options.serve
        serve(int(port), Path(state), Path(files))
        return
    results = run(options.images, options.repeats)
    if options.json:
        print(json.dumps([asdict(result) for result in results]))
        return
    for one in results:
        print(
            f"{one.request:24} {one.server:26} {one.milliseconds:9.1f} ms (first {one.first_milliseconds:9.1f},"
            f" cpu {one.cpu_milliseconds:8.1f})"
            f" {one.megabytes:8.2f} MB {one.megabytes_per_second:8.1f} MB/s"
        )


if __name__ == "__main__":
    main()
