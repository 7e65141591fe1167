"""Durable ingest: images per second into oncue's gateway, beside DCMTK storescp and, where installed, Orthanc.

All receivers run as child processes on loopback, one after another, and get the same generated CT images from the same
sender (DCMTK storescu where installed, else pynetdicom), over one association and over four at once. Each repeat has
fresh UIDs and a fresh order. Run: ``python -m benchmarks.ingest [--images N] [--repeats N] [--json]``.

Beside the rate, the processor time of the receiving process for each image is measured, and for oncue how long after
the last answer the last row was there: a rate that its ledger cannot keep up with would be no rate.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shutil
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

ONCUE, ONCUE_IN_TWO = "oncue gateway", "oncue gateway, two processes"
_READY = "ready-"
SIZE = 512
START_SECONDS = 120.0
SEND_SECONDS = 600.0


Command = Callable[[int, Path], list[str]]
"""Returns the command of a receiver on a port, with a folder for its state."""


@dataclass(frozen=True, slots=True)
class Receiver:
    """One receiver to measure: its name, AE title, and how to start it on a port with a state folder."""

    name: str
    aet: str
    command: Command
    nodelay: bool
    durable: str
    processes: int = 0
    """How many of its processes say that they are ready; others are when they listen."""
    sender_options: tuple[str, ...] = ()
    """What storescu is told besides."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run: images per second, processor time for each, and how long the last row came after the last answer."""

    images_per_second: float
    cpu_milliseconds: float
    seconds_behind: float | None


@dataclass(frozen=True, slots=True)
class Result:
    """Images per second of one receiver over so many associations: the median of the repeats, and all of them.

    ``cpu_milliseconds`` and ``seconds_behind`` are medians of what ``Run`` says.
    """

    receiver: str
    durable: str
    associations: int
    images_per_second: float
    runs: tuple[float, ...]
    ratio_to_oncue: float = 1.0
    cpu_milliseconds: float | None = None
    seconds_behind: float | None = None


def ct_image(generator: np.random.Generator, *, study: str, series: str, number: int) -> Dataset:
    """Return a CT image with a noisy disc: 512 x 512, 16 bits."""
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, generate_uid()
    image.StudyInstanceUID, image.SeriesInstanceUID = study, series
    image.PatientID, image.Modality, image.InstanceNumber = "BENCHMARK", "CT", number
    image.Rows = image.Columns = SIZE
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 12, 11, 0
    y, x = np.ogrid[:SIZE, :SIZE]
    disc = ((y - SIZE / 2) ** 2 + (x - SIZE / 2) ** 2 < (SIZE / 3) ** 2) * 1000
    image.PixelData = (disc + generator.integers(0, 200, (SIZE, SIZE))).astype("<u2").tobytes()
    return image


def write_images(folder: Path, count: int) -> None:
    """Write one series of images into a folder."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    study, series = generate_uid(), generate_uid()
    for number in range(count):
        image = ct_image(generator, study=study, series=series, number=number + 1)
        pydicom.dcmwrite(folder / f"{number:05}.dcm", image, enforce_file_format=True)


def receivers() -> list[Receiver]:
    """Return the receivers that can be measured on this machine."""
    found = [
        Receiver(
            name,
            "ONCUE",
            _gateway_command(processes),
            nodelay=True,
            durable="file flushed with all that its row needs",
            processes=processes,
        )
        for name, processes in ((ONCUE, 1), (ONCUE_IN_TWO, 2))
    ]
    storescp = program_of_system("storescp")
    if storescp:
        for nodelay in (False, True):
            name = "DCMTK storescp" + (", TCP_NODELAY=1" if nodelay else ", stock")
            found.append(
                Receiver(name, "STORESCP", storescp_command(storescp), nodelay=nodelay, durable="no fsync, no database")
            )
    orthanc = program_of_system("Orthanc")
    if orthanc:
        found.append(
            Receiver(
                "Orthanc",
                "ORTHANC",
                orthanc_command(orthanc),
                nodelay=True,
                durable="file fsynced, row committed without a flush (SQLite NORMAL)",
            )
        )
    return found


def measure(receiver: Receiver, folders: Sequence[Path]) -> Run:
    """Start a receiver, and send it one folder per association at once."""
    images = sum(1 for folder in folders for _ in folder.iterdir())
    with tempfile.TemporaryDirectory() as state, running(receiver, Path(state)) as (port, process):
        before = _cpu_seconds(process)
        started = time.perf_counter()
        senders = [
            subprocess.Popen(
                send_command(receiver.aet, port, folder, options=receiver.sender_options),
                env=environment(nodelay=receiver.nodelay),
                stdout=subprocess.DEVNULL,
            )
            for folder in folders
        ]
        codes = [sender.wait(SEND_SECONDS) for sender in senders]
        seconds = time.perf_counter() - started
        behind = _seconds_behind(Path(state), images) if receiver.aet == "ONCUE" else None
        cpu = _cpu_seconds(process) - before
    if any(codes):
        raise SystemExit(f"{receiver.name}: a sender failed with exit codes {codes}")
    return Run(images / seconds, cpu / images * 1000, behind)


def _cpu_seconds(process: psutil.Process) -> float:
    """Return the processor time of a process and its children, those that ended too."""
    times = []
    for one in (process, *process.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):  # a child that has ended meanwhile
            times.append(one.cpu_times())
    return sum(time.user + time.system for time in times) + times[0].children_user + times[0].children_system


def _seconds_behind(state: Path, images: int) -> float:
    """Wait until every image has its row, and return how long that took."""
    started = time.perf_counter()
    query = "SELECT count(*) FROM instances"
    while time.perf_counter() - started < START_SECONDS:
        with contextlib.closing(sqlite3.connect(state / "oncue.sqlite")) as database:
            if database.execute(query).fetchone() == (images,):
                return time.perf_counter() - started
        time.sleep(0.05)
    raise SystemExit("images that were acknowledged are not on record")


def run(images: int, repeats: int, chosen: Sequence[Receiver]) -> list[Result]:
    """Measure receivers over one and four associations; repeats take turns so that drift hits all alike."""
    runs: dict[tuple[str, int], list[Run]] = {}
    for _ in range(repeats):
        for associations in (1, 4):
            for receiver in chosen:
                with tempfile.TemporaryDirectory() as folder:
                    folders = [Path(folder) / str(index) for index in range(associations)]
                    for part in folders:
                        write_images(part, images // associations)
                    runs.setdefault((receiver.name, associations), []).append(measure(receiver, folders))
    return [_result(receiver, associations, runs) for associations in (1, 4) for receiver in chosen]


def _result(receiver: Receiver, associations: int, runs: dict[tuple[str, int], list[Run]]) -> Result:
    of_receiver = runs[receiver.name, associations]
    rates = [run.images_per_second for run in of_receiver]
    ours = statistics.median(run.images_per_second for run in runs[ONCUE, associations])
    behind = [run.seconds_behind for run in of_receiver if run.seconds_behind is not None]
    median = statistics.median(rates)
    return Result(
        receiver=receiver.name,
        durable=receiver.durable,
        associations=associations,
        images_per_second=round(median, 1),
        runs=tuple(round(rate, 1) for rate in rates),
        ratio_to_oncue=round(median / ours, 2),
        cpu_milliseconds=round(statistics.median(run.cpu_milliseconds for run in of_receiver), 2),
        seconds_behind=round(statistics.median(behind), 2) if behind else None,
    )


def _gateway_command(processes: int) -> Command:
    def command(port: int, state: Path) -> list[str]:
        return [sys.executable, "-m", "benchmarks.ingest", "--receive", str(port), str(state), str(processes)]

    return command


def storescp_command(program: str, *options: str) -> Command:
    """Return the command of a storescp on a port, which keeps what it takes in a folder."""
    return lambda port, state: [
        program,
        *options,
        "-pdu",
        "131072",
        "-dhl",
        "-aet",
        "STORESCP",
        "-od",
        str(state),
        "--fork",
        str(port),
    ]


def orthanc_command(program: str, **more: object) -> Command:
    """Return the command of an Orthanc on a port, with ``more`` settings."""

    def command(port: int, state: Path) -> list[str]:
        settings = {
            "DicomAet": "ORTHANC",
            "DicomPort": port,
            "HttpServerEnabled": False,
            "MaximumPduLength": 131072,
            "StorageDirectory": str(state),
            "IndexDirectory": str(state),
            **more,
        }
        (state / "orthanc.json").write_text(json.dumps(settings))
        return [program, str(state / "orthanc.json")]

    return command


def send_command(aet: str, port: int, folder: Path, *, options: Sequence[str] = ()) -> list[str]:
    """Return the command that sends a folder over one association; ``options`` are those of storescu."""
    program = program_of_system("storescu")
    if program:
        return [program, "+sd", "-pdu", "131072", *options, "-aec", aet, "127.0.0.1", str(port), str(folder)]
    return [sys.executable, "-m", "benchmarks.ingest", "--send", aet, str(port), str(folder)]


def receive(port: int, state: Path, processes: int, *, only_receives: bool = False, **more: Any) -> None:
    """Run oncue's gateway until terminated, in several processes where more than one is asked.

    ``more`` are settings that differ from its defaults.
    """
    from dicom_gateway.memory_arenas import share_arenas

    share_arenas()

    from dicom_gateway.config import GatewaySettings
    from dicom_gateway.cyclic_garbage import exempt_what_is_there
    from dicom_gateway.gateway import Gateway
    from storage import logs, migrate
    from storage.database import connect
    from storage.objects import ObjectStore

    logs.configure("ERROR")
    database = connect(f"sqlite:///{state / 'oncue.sqlite'}")
    migrate.upgrade(database)
    settings = GatewaySettings(**{"port": port, "processes": processes, **more})
    Gateway(settings, database, ObjectStore(state / "objects"), only_receives=only_receives).start()
    exempt_what_is_there()
    (state / f"{_READY}{os.getpid()}").touch()
    if not only_receives:
        command = [sys.executable, "-m", "benchmarks.ingest", "--receive", str(port), str(state), str(processes)]
        for _ in range(processes - 1):
            subprocess.Popen([*command, "--beside"])
    threading.Event().wait()


def send(aet: str, port: int, folder: Path) -> int:
    """Send a folder with our own sender, and return the exit code."""
    from dicom_gateway.destinations import Destination
    from dicom_gateway.sending.folders import send_folder

    sent = send_folder(folder, Destination(aet, "127.0.0.1", port))
    return int(any(outcome.code for outcome in sent.outcomes))


@contextlib.contextmanager
def running(receiver: Receiver, state: Path) -> Iterator[tuple[int, psutil.Process]]:
    """Run a receiver on a free port; hands out the port and the process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    process = subprocess.Popen(
        receiver.command(port, state),
        env=environment(nodelay=receiver.nodelay),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(lambda: _listens(port) and len(list(state.glob(f"{_READY}*"))) >= receiver.processes)
        yield port, psutil.Process(process.pid)
    finally:
        for child in psutil.Process(process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):  # storescp's forks end with their association
                child.kill()
        process.kill()
        process.wait()


def _listens(port: int) -> bool:
    with contextlib.closing(socket.socket()) as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _wait_for(is_ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not is_ready():
        if time.monotonic() > deadline:
            raise SystemExit("a receiver did not start")
        time.sleep(0.05)


def environment(*, nodelay: bool) -> dict[str, str]:
    """Return the environment of a program of DCMTK, with Nagle's algorithm on or off."""
    environment = {name: value for name, value in os.environ.items() if name != "TCP_NODELAY"}
    return environment | {"TCP_NODELAY": "1"} if nodelay else environment


def program_of_system(name: str) -> str | None:
    """Find a system program, past the virtual environment: pynetdicom installs tools of the same names."""
    own = str(Path(sys.prefix) / "bin")
    folders = [folder for folder in os.environ.get("PATH", os.defpath).split(os.pathsep) if folder != own]
    return shutil.which(name, path=os.pathsep.join([*folders, "/usr/sbin"]))


def print_table(results: Sequence[Result]) -> None:
    """Print results as they stand in docs/performance.md."""
    print("| associations | receiver | what success means | images/s (median) | runs | times oncue | CPU ms/image |")
    print("|---|---|---|---|---|---|---|")
    for result in results:
        runs = ", ".join(f"{rate:.0f}" for rate in result.runs)
        print(
            f"| {result.associations} | {result.receiver} | {result.durable} | {result.images_per_second:.0f} "
            f"| {runs} | {result.ratio_to_oncue:.2f} | {result.cpu_milliseconds:.1f} |"
        )
    for result in results:
        if result.seconds_behind is not None:
            late = f"the last row was there {result.seconds_behind:.2f} s after the last answer"
            print(f"\n{result.receiver}, {result.associations} associations: {late}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--images", type=int, default=240, help="images per measurement (0.5 MB each)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peers", nargs="*", metavar="NAME", help="measure only oncue and receivers of these names")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--receive", nargs=3, metavar=("PORT", "STATE", "PROCESSES"), help=argparse.SUPPRESS)
    parser.add_argument("--beside", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--send", nargs=3, metavar=("AET", "PORT", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.receive:
        port, state, processes = options.receive
        receive(int(port), Path(state), int(processes), only_receives=options.beside)
        return
    if options.send:
        raise SystemExit(send(options.send[0], int(options.send[1]), Path(options.send[2])))
    load = os.getloadavg()[0]
    peers = options.peers
    chosen = [one for one in receivers() if peers is None or one.aet == "ONCUE" or one.name in peers]
    results = run(options.images, options.repeats, chosen)
    if options.json:
        machine = {"cpus": os.cpu_count(), "machine": platform.machine(), "load_before": round(load, 2)}
        print(json.dumps({"machine": machine, "results": [asdict(result) for result in results]}))
        return
    print(f"{os.cpu_count()} CPUs, load average before: {load:.1f}, {options.images} images of 0.5 MB\n")
    print_table(results)


if __name__ == "__main__":
    main()
