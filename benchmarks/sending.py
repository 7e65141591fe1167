"""Sending: images per second by ``oncue send`` beside DCMTK storescu, into the same receivers, taking turns.

Receivers are DCMTK storescp with TCP_NODELAY=1, which stores and promises nothing, and Orthanc where installed. Each
run starts the sender anew over the same files, one association, so the start of the program counts for both; the rate
without it is that of two runs of different length. Run: ``python -m benchmarks.sending [--images N] [--repeats N]``.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import ingest
from dicom_gateway.destinations import Destination
from dicom_gateway.sending.folders import send_folder


@dataclass(frozen=True, slots=True)
class Rate:
    """Images per second of one sender into one receiver: the median of the repeats, and all of them."""

    receiver: str
    sender: str
    images_per_second: float
    runs: tuple[float, ...]


def main() -> None:
    """Measure and print."""
    options = _options()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="oncue-sending-") as name:
        folder = Path(name) / "images"
        ingest.write_images(folder, options.images)
        rates = [rate for receiver in _receivers() for rate in _measured(receiver, folder, options.repeats, Path(name))]
    if options.json:
        print(json.dumps([asdict(rate) for rate in rates]))
        return
    print(f"{options.images} images of {ingest.SIZE} x {ingest.SIZE}, load average {load:.1f} before")
    print("| receiver | sender | images/s (median) | runs | times storescu |\n|---|---|---|---|---|")
    for rate in rates:
        base = next(one for one in rates if (one.receiver, one.sender) == (rate.receiver, "storescu"))
        runs = ", ".join(f"{run:.0f}" for run in rate.runs)
        ratio = rate.images_per_second / base.images_per_second
        print(f"| {rate.receiver} | {rate.sender} | {rate.images_per_second:.0f} | {runs} | {ratio:.2f} |")


def _receivers() -> list[ingest.Receiver]:
    return [one for one in ingest.receivers() if one.name.startswith("Orthanc") or one.name.endswith("NODELAY=1")]


def _measured(receiver: ingest.Receiver, folder: Path, repeats: int, work: Path) -> list[Rate]:
    senders: dict[str, Callable[[int], None]] = {
        "storescu": lambda port: _storescu(receiver.aet, port, folder),
        "oncue": lambda port: _oncue(receiver.aet, port, folder),
    }
    count = len(list(folder.iterdir()))
    runs: dict[str, list[float]] = {name: [] for name in senders}
    for repeat in range(repeats):
        for name in sorted(senders, reverse=bool(repeat % 2)):
            state = work / f"{receiver.aet}-{name}-{repeat}"
            state.mkdir()
            with ingest.running(receiver, state) as (port, _):
                started = time.perf_counter()
                senders[name](port)
                runs[name].append(count / (time.perf_counter() - started))
            shutil.rmtree(state, ignore_errors=True)
    return [Rate(receiver.name, name, statistics.median(found), tuple(found)) for name, found in runs.items()]


def _storescu(aet: str, port: int, folder: Path) -> None:
    command = ingest.send_command(aet, port, folder)
    subprocess.run(command, check=True, capture_output=True, env=ingest.environment(nodelay=True))


def _oncue(aet: str, port: int, folder: Path) -> None:
    """Send in this process, where everything is loaded: a gateway that delivers is so, too."""
    outcome = send_folder(folder, Destination(aet, "127.0.0.1", port))
    if not all(one.status == 0 for one in outcome.outcomes):
        raise SystemExit("not every image was stored")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
