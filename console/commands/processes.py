"""`oncue gateway`, `worker` and `relay`: one process each. `oncue up` runs them all, and `oncue console`."""

from __future__ import annotations

from typing import Annotated

import typer

from console.commands.left_out import CODEC, COLOURS, DOWNLOADS, leave_out
from console.terminal.options import DEFAULT_STATE, ConfigFile, Processes, State

Member = Annotated[
    int | None,
    typer.Option("--member", min=1, hidden=True, help="Which one of a gateway's processes this is; 1 does the rest."),
]


def run_gateway(
    state: State = DEFAULT_STATE, *, config: ConfigFile = None, processes: Processes = None, member: Member = None
) -> None:
    """Run the DICOM side: listener, assembly of studies, delivery of results. Ends on SIGTERM.

    Example: oncue gateway --state ./oncue-state
    """
    from dicom_gateway.memory_arenas import share_arenas

    leave_out(COLOURS, DOWNLOADS, CODEC)
    share_arenas()  # before anything that starts threads is imported

    from console.commands.compositions import gateway, gateway_of_processes

    flags = {} if processes is None else {"gateway": {"processes": processes}}
    if member is None:
        gateway_of_processes(state, file=config, flags=flags)
    else:
        gateway(state, file=config, flags=flags, only_receives=member > 1)


def run_worker(state: State = DEFAULT_STATE, *, config: ConfigFile = None) -> None:
    """Run one worker: it loads the models once and takes jobs from the queues. One per GPU. Ends on SIGTERM.

    Example: ONCUE_WORKER_DEVICE=cuda:0 oncue worker --state ./oncue-state
    """
    leave_out(COLOURS)
    from console.commands.compositions import worker

    worker(state, file=config)


def run_relay(state: State = DEFAULT_STATE, *, config: ConfigFile = None) -> None:
    """Run the relay: it hands committed jobs to the broker and takes back those of lost workers. Ends on SIGTERM.

    Example: oncue relay --state ./oncue-state
    """
    leave_out(COLOURS)
    from console.commands.compositions import relay

    relay(state, file=config)


def register(app: typer.Typer) -> None:
    """Add the three commands to the root."""
    app.command("gateway")(run_gateway)
    app.command("worker")(run_worker)
    app.command("relay")(run_relay)
