"""`oncue audit archive | check-archive`: months that leave the database, and prove themselves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from console.terminal.options import DEFAULT_STATE, AsJson, ConfigFile, State

if TYPE_CHECKING:
    from console.installation import Installation
    from storage.history.archive import CheckedArchive

Month = Annotated[str | None, typer.Option("--month", metavar="MONTH", help="The month, as 2025-01.")]
OlderThan = Annotated[
    int | None,
    typer.Option(
        "--older-than",
        metavar="N",
        min=1,
        help="Every month before the last N whole ones; default where no month is named: audit.keep_months.",
    ),
]
To = Annotated[
    Path,
    typer.Option("--to", metavar="FOLDER", file_okay=False, help="Where archives go; each month gets a folder."),
]
Drop = Annotated[
    bool,
    typer.Option("--drop", help="Drop the month's table, too, once its archive was proved; else it stays, detached."),
]
Key = Annotated[
    str | None,
    typer.Option("--key", metavar="KEY", help="The log's public key, as `oncue audit checkpoint --key` prints it."),
]
Folder = Annotated[
    Path, typer.Argument(metavar="FOLDER", exists=True, file_okay=False, help="The folder of one archived month.")
]
Trusted = Annotated[
    Path | None,
    typer.Option(
        "--checkpoint",
        metavar="FILE",
        exists=True,
        dir_okay=False,
        help="A checkpoint that you trust: it must be this.",
    ),
]


def archive_months(
    to: To,
    state: State = DEFAULT_STATE,
    *,
    config: ConfigFile = None,
    as_json: AsJson = False,
    month: Month = None,
    older_than: OlderThan = None,
    drop: Drop = False,
    key: Key = None,
) -> None:
    """Write a month of events to a folder with its proof, check it, and detach the month from PostgreSQL.

    Example: oncue audit archive --month 2025-01 --to ./archives --state ./oncue-state
    """
    from console.history.log_key import key_of_a_command
    from console.installation import open_installation
    from console.terminal.actor import command_line_actor
    from storage.history import retention
    from storage.history.note_keys import parse_verifier_key

    if month is not None and older_than is not None:
        raise typer.BadParameter("give --month or --older-than, not both")
    installation = open_installation(state, file=config)
    installation.require()
    try:
        months = (month,) if month else _months(installation, older_than)
        public = parse_verifier_key(key) if key else key_of_a_command(installation).verifier
        asked = retention.Retention(public, to, command_line_actor(), drop=drop)
        done = [retention.archive_month(installation.database, one, asked) for one in months]
    finally:
        installation.database.dispose()
    _tell(done, as_json=as_json)


def check_archive(folder: Folder, *, key: Key = None, checkpoint: Trusted = None, as_json: AsJson = False) -> None:
    """Prove an archive by itself: every event in it leads to the checkpoint that the log signed.

    Example: oncue audit check-archive ./archives/2025-01 --key oncue+1a2b3c4d+AbCd...
    """
    from console.terminal.output import write_line
    from storage.history import archive
    from storage.history.checkpoint_text import parse_checkpoint
    from storage.history.note_keys import parse_verifier_key
    from storage.history.notes import parse_note

    trusted = parse_checkpoint(parse_note(checkpoint.read_bytes()).text) if checkpoint else None
    found = archive.check(folder, key=parse_verifier_key(key) if key else None, trusted=trusted)
    _tell([found], as_json=as_json)
    if key is None and trusted is None and not as_json:
        write_line(f"its own key says so ({found.key}): compare it with the log's, or give --key")


def _months(installation: Installation, older_than: int | None) -> tuple[str, ...]:
    """Return the months that are to go."""
    from storage.database import utc_now
    from storage.errors import ConfigurationError
    from storage.history import retention

    keep = older_than or installation.settings.audit.keep_months
    if not keep:
        raise ConfigurationError("name a month, or how many stay: --month, --older-than or audit.keep_months")
    with installation.database.read() as session:
        return retention.older_than(session, keep_months=keep, now=utc_now())


def _tell(done: list[CheckedArchive], *, as_json: bool) -> None:
    from console.terminal.output import write_forms, write_line

    if as_json:
        write_forms(done)
        return
    for one in done:
        write_line(f"{one.month}: {one.events} events lead to the checkpoint of {one.size}; sha256 {one.sha256}")
    if not done:
        write_line("no month is old enough")
