"""One gateway in several processes that receive on the same port, under one parent."""

from __future__ import annotations

import sys
from pathlib import Path

from console.config import Layer, Settings, as_variables
from console.supervision.child import Child
from console.supervision.interruption import Interruption
from console.supervision.ports import is_taken, settle
from console.supervision.site import Site, gateway_programs


def run_gateway_processes(
    state: Path, settings: Settings, interruption: Interruption, *, file: Path | None, flags: Layer
) -> None:
    """Run the processes of a gateway until told to stop; ConfigurationError where the port is taken.

    They share the port, so a second gateway would be let in beside them unseen: this is the moment to look.
    """
    gateway = settings.gateway
    port = settle(gateway.host, gateway.port, key="gateway.port")
    layer = {**flags, "gateway": {**flags.get("gateway", {}), "port": port}}
    programs = gateway_programs(state, config=file, variables=as_variables(layer), count=gateway.processes)
    site = Site([Child(program) for program in programs], interruption, tick=lambda: None)
    site.run(is_ready=lambda: is_taken(gateway.host, port), on_ready=sys.stdout.flush)
