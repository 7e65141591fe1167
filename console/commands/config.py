"""`oncue config`: the effective settings and where each came from."""

from __future__ import annotations

from console.terminal.options import DEFAULT_STATE, AsJson, ConfigFile, State


def show_settings(state: State = DEFAULT_STATE, *, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Show every setting, its value and where it came from: environment, file or default. Secrets are masked.

    Example: ONCUE_GATEWAY_PORT=104 oncue config --state ./oncue-state
    """
    from dataclasses import asdict

    from console.config import read
    from console.terminal.output import write_json, write_table

    effective = read(state, file=config).effective()
    if as_json:
        write_json([asdict(item) for item in effective])
        return
    rows = [(item.key, item.value or "-", item.origin, item.description) for item in effective]
    write_table("Settings", ("key", "value", "from", "meaning"), rows, empty="")
