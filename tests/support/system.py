"""A whole installation as an operator runs it: `oncue up` in a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psutil
import pytest

from tests.support.commands import oncue
from tests.support.migrated import FILE, put_database

ONCUE = str(Path(sys.executable).parent / "oncue")
QUICK = {
    "ONCUE_WORKER_ANALYSERS": '{"zero-shot": "tests.support.analysers:build_quick"}',
    "ONCUE_WORKER_CLASSIFY": "false",
    "ONCUE_WORKER_GUARD": "false",
    "ONCUE_STORAGE_RESERVE_MEGABYTES": "0",
}
"""Settings that replace the models with a threshold: for tests of everything around them."""

_PATIENCE_SECONDS = 180.0


@dataclass(frozen=True, slots=True)
class System:
    """A running `oncue up`."""

    state: Path
    process: subprocess.Popen[str]
    variables: Mapping[str, str]

    @property
    def port(self) -> int:
        """Port of its listener."""
        return int(self._note()["port"])

    @property
    def pages(self) -> str:
        """Address of its pages."""
        return f"http://127.0.0.1:{self._note()['console_port']}"

    def ask(self, *words: str) -> Any:
        """Return what a command prints as JSON; run in this process, which spares a second each time."""
        with patch.dict(os.environ, environment(self.variables), clear=True):
            return oncue(*words, "--state", self.state, "--json").json

    def wait_for(self, *words: str, until: Callable[[Any], bool]) -> Any:
        """Ask a command until its answer is as wanted, and return that answer."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not until(answer := self.ask(*words)):
            if time.monotonic() > deadline or self.process.poll() is not None:
                pytest.fail(f"{words} still says {answer}\n{self.logs()}")
            time.sleep(0.3)
        return answer

    def children(self) -> list[psutil.Process]:
        """Return every process below it."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def child(self, name: str) -> psutil.Process:
        """Return one of the processes that it supervises, by its subcommand."""
        return next(item for item in psutil.Process(self.process.pid).children() if name in item.cmdline())

    def stop(self) -> int:
        """End it as Ctrl-C would and return its exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(timeout=60)

    def logs(self) -> str:
        """Return the end of every log."""
        texts = [f"{path.name}:\n{path.read_text()[-1500:]}" for path in sorted(self.state.glob("logs/*.log"))]
        return "\n".join(texts)

    def _note(self) -> dict[str, Any]:
        note: dict[str, Any] = json.loads((self.state / "up.json").read_text())
        return note


@contextlib.contextmanager
def oncue_up(
    state: Path,
    *,
    destinations: Sequence[str] = (),
    variables: Mapping[str, str] | None = None,
    quiet_seconds: float = 1.0,
    port: int | None = 0,
    from_nothing: bool = False,
) -> Iterator[System]:
    """Run `oncue up` on free ports until the block ends; it must have said «ready». No port: that of the settings.

    Unless it is to start ``from_nothing``, it finds a migrated database in a state folder that has none.
    """
    chosen = QUICK if variables is None else variables
    if not (from_nothing or (state / FILE).exists() or "ONCUE_STORAGE_DATABASE_URL" in chosen):
        put_database(state)
    command = [ONCUE, "up", "--state", str(state), "--console-port", "0", "--quiet-seconds", str(quiet_seconds)]
    command += [] if port is None else ["--port", str(port)]
    command += ["--destination", *destinations] if destinations else []
    errors = state.parent / f"{state.name}-up.err"
    with errors.open("a") as standard_error:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=standard_error, text=True, env=environment(chosen)
        )
    system = System(state, process, chosen)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if line != "ready\n":
            pytest.fail(f"`oncue up` said {line!r}: {errors.read_text()}\n{system.logs()}")
        yield system
    finally:
        if process.poll() is None:
            system.stop()
        if process.stdout is not None:
            process.stdout.close()


def run_oncue(*words: str, variables: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run the installed command to its end."""
    return subprocess.run(
        [ONCUE, *words],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env=environment(variables or {}),
    )


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Return this process's variables with oncue's replaced."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ONCUE_")}
    return {**kept, **variables}
