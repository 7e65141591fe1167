"""Options that several commands share, and words that stand for a member of an enum."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, TypeVar

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
Processes = Annotated[
    int | None,
    typer.Option("--processes", metavar="N", min=1, max=64, help="Processes that receive on the DICOM port."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON for other programs instead of a table.")]
Limit = Annotated[int, typer.Option("--limit", metavar="N", min=1, help="Most rows to show.")]
After = Annotated[
    str | None,
    typer.Option("--after", metavar="CURSOR", help="Go on behind this entry: its `cursor`, as --json writes it."),
]
_TIMES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]
Since = Annotated[
    datetime | None,
    typer.Option("--since", metavar="TIME", formats=_TIMES, help="Only arrivals at this day or time (UTC), or later."),
]
Until = Annotated[
    datetime | None,
    typer.Option("--until", metavar="TIME", formats=_TIMES, help="Only arrivals at this day or time (UTC), or before."),
]
OfPriority = Annotated[
    str | None, typer.Option("--priority", metavar="PRIORITY", help="Only STAT, HIGH, ROUTINE or LOW.")
]
OfPatient = Annotated[str | None, typer.Option("--patient", metavar="ID", help="Only studies of this Patient ID.")]
OfAccession = Annotated[
    str | None, typer.Option("--accession", metavar="NUMBER", help="Only studies of this Accession Number.")
]

Choice = TypeVar("Choice", bound=StrEnum)


def in_utc(moment: datetime | None) -> datetime | None:
    """Return a time of an option with its zone, which it has not said: UTC."""
    return None if moment is None else moment.replace(tzinfo=UTC)


def chosen(kind: type[Choice], text: str | None) -> Choice | None:
    """Return the member with this value, None for None; BadParameter lists the known values for anything else."""
    if text is None:
        return None
    try:
        return kind(text)
    except ValueError as error:
        known = ", ".join(member.value for member in kind)
        raise typer.BadParameter(f"{text!r} is not one of {known}") from error


def all_chosen(kind: type[Choice], texts: Sequence[str] | None) -> list[Choice]:
    """Return the members with these values; none for None."""
    return [member for text in texts or () if (member := chosen(kind, text)) is not None]
