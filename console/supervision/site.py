"""The processes of one machine: which ones there are, when they can receive, and the order in which they end."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Self

from console.config import Settings
from console.supervision.child import Child, Program
from console.supervision.interruption import Interruption
from storage.errors import OncueError

GATEWAY = "gateway"
OTHER_PROCESSES = ("relay", "worker", "console")
_READY_POLL_SECONDS = 0.1
_WATCH_SECONDS = 0.5
_START_SECONDS = 120.0
_RUN_FILE = "up.json"


class StartFailed(OncueError):
    """A process ended, or did not answer, before the installation could receive anything."""

    code = "start_failed"


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where a running installation answers; other commands read it from the state folder."""

    pid: int
    aet: str
    host: str
    port: int
    console_host: str
    console_port: int
    destinations: tuple[str, ...]

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return where the settings say that it answers."""
        gateway, console = settings.gateway, settings.console
        return cls(
            os.getpid(), gateway.aet, gateway.host, gateway.port, console.host, console.port, gateway.destinations
        )

    def write(self, state: Path) -> None:
        """Leave a note for the other commands."""
        (state / _RUN_FILE).write_text(json.dumps(asdict(self)) + "\n")

    @staticmethod
    def forget(state: Path) -> None:
        """Take the note away at an end in good order."""
        (state / _RUN_FILE).unlink(missing_ok=True)

    @classmethod
    def read(cls, state: Path) -> Self | None:
        """Return the note of the last `oncue up`, None where there is none."""
        try:
            noted = json.loads((state / _RUN_FILE).read_text())
            return cls(**{**noted, "destinations": tuple(noted["destinations"])})
        except (FileNotFoundError, ValueError, TypeError, KeyError):
            return None


@dataclass(frozen=True, slots=True)
class Site:
    """The children under one parent. ``tick`` is called about twice a second while they run."""

    children: Sequence[Child]
    interruption: Interruption
    tick: Callable[[], None]

    def run(self, *, is_ready: Callable[[], bool], on_ready: Callable[[], None]) -> None:
        """Start the children, say when they can receive, watch them until told to stop, and end them in order.

        StartFailed where a child ends before the first «ready»: a wrong setting must not look like a slow start.
        """
        try:
            for child in self.children:
                child.start()
            if self._await_ready(is_ready):
                on_ready()
            while not self.interruption.stop.wait(_WATCH_SECONDS):
                self.tick()
                for child in self.children:
                    child.watch()
        finally:
            self._end()

    def _end(self) -> None:
        """End the listener first, so that nothing is accepted any more, then the others side by side."""
        gateways = [child for child in self.children if child.program.arguments[0] == GATEWAY]
        for group in (gateways, [child for child in self.children if child not in gateways]):
            for child in group:
                child.ask_to_end()
            for child in group:
                child.join(self.interruption.hurry)

    def _await_ready(self, is_ready: Callable[[], bool]) -> bool:
        deadline = time.monotonic() + _START_SECONDS
        while not self.interruption.stop.wait(_READY_POLL_SECONDS):
            for child in self.children:
                if child.exit_code is not None:
                    raise StartFailed(f"{child.program.name} ended with {child.exit_code}: {child.last_words()}")
            if is_ready():
                return True
            if time.monotonic() > deadline:
                raise StartFailed(f"nothing answered within {_START_SECONDS:.0f} s; see the logs in the state folder")
        return False


def programs(state: Path, *, config: Path | None, variables: Mapping[str, str], gateways: int) -> tuple[Program, ...]:
    """Return the processes in the order in which they start and end, with so many of the gateway's."""
    shared = ("--state", str(state), *(("--config", str(config)) if config else ()))
    others = tuple(Program(name, (name, *shared), variables, _log(state, name)) for name in OTHER_PROCESSES)
    members = gateway_programs(state, config=config, variables=variables, count=gateways)
    return (*(replace(member, log=_log(state, member.name)) for member in members), *others)


def gateway_programs(
    state: Path, *, config: Path | None, variables: Mapping[str, str], count: int
) -> tuple[Program, ...]:
    """Return the processes of one gateway, which write where their parent does; the first does more than receive."""
    shared = ("--state", str(state), *(("--config", str(config)) if config else ()))
    return tuple(
        Program(
            GATEWAY if number == 1 else f"{GATEWAY}-{number}",
            (GATEWAY, *shared, "--member", str(number)),
            variables,
            None,
        )
        for number in range(1, count + 1)
    )


def _log(state: Path, name: str) -> Path:
    return state / "logs" / f"{name}.log"
