"""`oncue triage`: the policies that turn findings into a reading priority."""

from __future__ import annotations

import typer

app = typer.Typer(no_args_is_help=True, help="Triage: the policies that turn findings into a reading priority.")
