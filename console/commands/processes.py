"""`oncue gateway`, `worker` and `relay`: one process each. `oncue up` runs them all, and `oncue console`."""

from __future__ import annotations

import typer

from console.terminal.options import DEFAULT_STATE, ConfigFile, State


def run_gateway(state: State = DEFAULT_STATE, *, config: ConfigFile = None) -> None:
    """Run the DICOM side: listener, assembly of studies, delivery of results. Ends on SIGTERM.

    Example: oncue gateway --state ./oncue-state
    """
    from console.commands.compositions import gateway

    gateway(state, file=config)


def run_worker(state: State = DEFAULT_STATE, *, config: ConfigFile = None) -> None:
    """Run one worker: it loads the models once and takes jobs from the queues. One per GPU. Ends on SIGTERM.

    Example: ONCUE_WORKER_DEVICE=cuda:0 oncue worker --state ./oncue-state
    """
    from console.commands.compositions import worker

    worker(state, file=config)


def run_relay(state: State = DEFAULT_STATE, *, config: ConfigFile = None) -> None:
    """Run the relay: it hands committed jobs to the broker and takes back those of lost workers. Ends on SIGTERM.

    Example: oncue relay --state ./oncue-state
    """
    from console.commands.compositions import relay

    relay(state, file=config)


def register(app: typer.Typer) -> None:
    """Add the three commands to the root."""
    app.command("gateway")(run_gateway)
    app.command("worker")(run_worker)
    app.command("relay")(run_relay)
