"""`oncue doctor`: say whether everything is there and answers."""

from __future__ import annotations

from typing import Annotated

import typer

from console.terminal.options import DEFAULT_STATE, AsJson, ConfigFile, State

Only = Annotated[
    list[str] | None,
    typer.Option(
        "--only", metavar="PART", help="Look at one part only, where a remark is a fault too; may be given repeatedly."
    ),
]


def doctor(
    state: State = DEFAULT_STATE, *, config: ConfigFile = None, as_json: AsJson = False, only: Only = None
) -> None:
    """Check disk, database, processes, routes, ports, C-ECHO both ways, broker, weights and device.

    Exit code 1 where something is broken; what is merely not running is a remark.

    Example: oncue doctor --state ./oncue-state
    """
    from dataclasses import asdict

    from console.doctor.examination import PROBES, examine
    from console.doctor.parts import PartHealth
    from console.terminal.output import write_json, write_table

    unknown = set(only or ()) - PROBES.keys()
    if unknown:
        raise typer.BadParameter(f"{min(unknown)!r} is not one of {', '.join(PROBES)}")
    parts = examine(state.resolve(), file=config, only=only or ())
    if as_json:
        write_json([asdict(part) for part in parts])
    else:
        write_table(
            "Doctor", ("", "what", "finding"), [(part.verdict, part.subject, part.detail) for part in parts], empty=""
        )
    faults = {PartHealth.BROKEN, PartHealth.REMARK} if only else {PartHealth.BROKEN}
    if any(part.verdict in faults for part in parts):
        raise typer.Exit(1)
