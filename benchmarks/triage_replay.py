"""How long a replay of a triage policy over much history takes, and how much memory.

``python -m benchmarks.triage_replay [--analyses N] [--repeats N]`` records analyses of a drawn history in SQLite, and
runs ``oncue triage replay`` over all of them in a process of its own, beside ``oncue triage list``, which shows what a
command takes anyway.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from console.installation import open_installation
from storage.triage.policy_file import SHIPPED
from tests.support.triage_history import BEGIN, drawn_studies, record_history

_KIBIBYTE = 1024
_MEGABYTE = 1_000_000
_MEASURING = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime, used.ru_maxrss)
"""


@dataclass(frozen=True, slots=True)
class Usage:
    """What one run of a command took: seconds by the clock and of the processor, and its memory at most."""

    wall: float
    cpu: float
    megabytes: float


def main() -> None:
    """Measure and print a table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--analyses", type=int, default=100_000)
    options.add_argument("--repeats", type=int, default=3)
    asked = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="oncue-replay-") as name:
        state = Path(name) / "state"
        _record(state, asked.analyses)
        policy = Path(name) / "bolder.toml"
        policy.write_text(SHIPPED.read_text().replace("minimum_confidence = 0.5", "minimum_confidence = 0.7"))
        print(f"load average {os.getloadavg()[0]:.1f} before")
        print("| command | analyses | wall s | CPU s | peak MB |\n|---|---|---|---|---|")
        replay = ["replay", "--policy", str(policy), "--since", f"{BEGIN:%Y-%m-%d}", "--json"]
        for words in (["list"], replay, [*replay, "--plot", str(Path(name) / "replay.png")]):
            runs = [_run([*words, "--state", str(state)]) for _ in range(asked.repeats)]
            named = "oncue triage " + words[0] + (" --plot" if "--plot" in words else "")
            print(f"| `{named}` | {asked.analyses:,} | {_in_words(runs)} |", flush=True)


def _record(state: Path, analyses: int) -> None:
    installation = open_installation(state)
    installation.prepare()
    record_history(installation.database, installation.objects, drawn_studies(analyses))
    installation.database.dispose()


def _run(words: Sequence[str]) -> Usage:
    """Run a subcommand of ``oncue triage`` and return what it took.

    By a small process between: the system counts the memory of whoever starts a process as that one's peak, too.
    """
    command = [sys.executable, "-c", "from console.cli import main; main()", "triage", *words]
    begin = time.perf_counter()
    ran = subprocess.run([sys.executable, "-c", _MEASURING, *command], capture_output=True, text=True, check=True)
    wall = time.perf_counter() - begin
    cpu, kibibytes = map(float, ran.stdout.split())
    return Usage(wall, cpu, kibibytes * _KIBIBYTE / _MEGABYTE)


def _in_words(runs: Sequence[Usage]) -> str:
    wall, cpu = (statistics.median(values) for values in zip(*((run.wall, run.cpu) for run in runs), strict=True))
    return f"{wall:.1f} | {cpu:.1f} | {max(run.megabytes for run in runs):.0f}"


if __name__ == "__main__":
    main()
