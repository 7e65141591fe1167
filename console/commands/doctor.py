"""`oncue doctor`: say whether everything is there and answers."""

from __future__ import annotations

import typer

from console.commands.options import DEFAULT_STATE, AsJson, ConfigFile, State


def doctor(state: State = DEFAULT_STATE, *, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Check settings, disk, database, broker, processes, ports, C-ECHO both ways, device and weights.

    Exit code 1 where something is broken; what is merely not running is a remark.

    Example: oncue doctor --state ./oncue-state
    """
    from dataclasses import asdict

    from console.commands.output import write_json, write_table
    from console.diagnosis.examination import Verdict, examine

    findings = examine(state.resolve(), file=config)
    if as_json:
        write_json([asdict(finding) for finding in findings])
    else:
        rows = [(finding.verdict, finding.subject, finding.detail) for finding in findings]
        write_table("Doctor", ("", "what", "finding"), rows, empty="")
    if any(finding.verdict is Verdict.BROKEN for finding in findings):
        raise typer.Exit(1)
