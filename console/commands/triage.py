"""`oncue triage`: which study is read first, and whether somebody saw it."""

from __future__ import annotations

import typer

app = typer.Typer(no_args_is_help=True, help="Triage: policies, and urgent studies that wait.")
