"""Options that several subcommands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DEFAULT_STATE = Path("oncue-state")

State = Annotated[
    Path,
    typer.Option(
        "--state",
        envvar="ONCUE_STATE",
        metavar="DIR",
        file_okay=False,
        help="Folder that holds everything oncue keeps: database, objects, logs, settings.",
    ),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config", envvar="ONCUE_CONFIG", metavar="FILE", help="Configuration file; default: DIR/oncue.toml."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON for other programs instead of a table.")]
Limit = Annotated[int, typer.Option("--limit", metavar="N", min=1, help="Most rows to show.")]
