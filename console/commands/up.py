"""`oncue up`: everything on one machine, under one parent."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from console.commands.left_out import COLOURS, leave_out
from console.terminal.options import DEFAULT_STATE, ConfigFile, Processes, State

Aet = Annotated[str | None, typer.Option("--aet", metavar="AET", help="Our AE title.")]
Host = Annotated[
    str | None, typer.Option("--host", help="Address that the listener binds to; 0.0.0.0 for every interface.")
]
Port = Annotated[int | None, typer.Option("--port", min=0, max=65535, help="Our DICOM port; 0 picks a free one.")]
Destinations = Annotated[
    list[str] | None,
    typer.Option(
        "--destination",
        metavar="AET@HOST:PORT",
        help="Where results are sent, with TLS as tls://AET@HOST:PORT; may be given repeatedly.",
    ),
]
MoreDestinations = Annotated[list[str] | None, typer.Argument(metavar="MORE", hidden=True)]
Quiet = Annotated[
    float | None, typer.Option("--quiet-seconds", metavar="S", help="A study is complete when quiet for so long.")
]
ConsolePort = Annotated[
    int | None, typer.Option("--console-port", metavar="P", min=0, max=65535, help="Port of the pages; 0 picks one.")
]


def up(
    state: State = DEFAULT_STATE,
    *,
    config: ConfigFile = None,
    aet: Aet = None,
    host: Host = None,
    port: Port = None,
    processes: Processes = None,
    destination: Destinations = None,
    more_destinations: MoreDestinations = None,
    quiet_seconds: Quiet = None,
    console_port: ConsolePort = None,
) -> None:
    """Run gateway, relay, worker and console with an embedded Redis and SQLite until interrupted.

    Prints one line, "ready", when images can be received; at the very first start also a token to sign in with at the
    pages. Logs go to DIR/logs.

    Example: oncue up --state ./oncue-state --port 11112 --destination ORTHANC@127.0.0.1:4242
    """
    leave_out(COLOURS)
    from console.supervision.machine import TokenOwner, run_machine
    from console.terminal.actor import command_line_actor, token_name

    destinations = [*(destination or []), *(more_destinations or [])]
    gateway: dict[str, Any] = {
        "aet": aet,
        "host": host,
        "port": port,
        "processes": processes,
        "destinations": destinations or None,
        "quiet_seconds": quiet_seconds,
    }
    flags = {"gateway": _given(gateway), "console": _given({"port": console_port})}
    run_machine(state, file=config, flags=flags, owner=TokenOwner(token_name(), command_line_actor()))


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}
