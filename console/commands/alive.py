"""`oncue alive`: the health check of a container."""

from __future__ import annotations

from typing import Annotated

import typer

from console.terminal.options import DEFAULT_STATE, ConfigFile, State


def alive(
    kind: Annotated[str, typer.Argument(help="gateway, relay or worker.")],
    state: State = DEFAULT_STATE,
    *,
    config: ConfigFile = None,
) -> None:
    """Say whether a process of this machine did its work lately; exit code 1 where none did.

    It reads the heartbeat in the database, which a process writes when it has done its round: one that exists but
    does nothing is not alive.

    Example: oncue alive gateway --state ./oncue-state
    """
    import socket

    from console.installation import open_installation
    from console.terminal.output import write_line
    from storage import processes
    from storage.database import utc_now

    # Process names carry the machine's name, cut to the length that fits the column.
    machine = socket.gethostname()[:24]
    installation = open_installation(state, file=config)
    with installation.database.read() as session:
        running = processes.running(session, kind=kind)
    installation.database.dispose()
    now = utc_now()
    found = any(machine in process.id and process.is_alive(now) for process in running)
    write_line(f"{kind}: {'alive' if found else 'not seen lately on this machine'}")
    if not found:
        raise typer.Exit(1)
