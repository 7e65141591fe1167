"""`oncue console`: the web pages and the HTTP API, and the tokens that let somebody change something through them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from console.commands.left_out import COLOURS, DOWNLOADS, leave_out
from console.terminal.options import DEFAULT_STATE, AsJson, ConfigFile, State

app = typer.Typer(invoke_without_command=True)

Name = Annotated[
    str | None,
    typer.Option("--name", metavar="NAME", help="Whose it is; stands in the audit trail. Default: your user name."),
]
Expires = Annotated[
    str | None,
    typer.Option(
        "--expires", metavar="WHEN", help="Last day (2027-06-30), time (2027-06-30T12:00, UTC) or span (12h, 90d, 4w)."
    ),
]
TokenName = Annotated[str, typer.Argument(metavar="NAME", help="Name of a token.")]
AlsoRevoked = Annotated[bool, typer.Option("--all", help="Also those that were revoked.")]


@app.callback()
def run_console(context: typer.Context, state: State = DEFAULT_STATE, *, config: ConfigFile = None) -> None:
    """Run the web pages and the HTTP API, or with a subcommand keep the tokens that they ask for. Ends on SIGTERM.

    Example: oncue console --state ./oncue-state
    """
    if context.invoked_subcommand is None:
        leave_out(COLOURS, DOWNLOADS)
        from console.commands.compositions import console

        console(state, file=config)
        return
    for name in ("state", "config"):
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise typer.BadParameter(f"give --{name} after `{context.invoked_subcommand}`")


@app.command("token")
def make_token(
    state: State = DEFAULT_STATE,
    *,
    config: ConfigFile = None,
    name: Name = None,
    expires: Expires = None,
    as_json: AsJson = False,
) -> None:
    """Make a token and print it, this once: only a hash of it is kept.

    Whoever has it may change things through the pages and the API, under its name, until it expires or is revoked.

    Example: oncue console token --name anna --expires 90d --state ./oncue-state
    """
    from console.installation import open_installation
    from console.terminal.actor import command_line_actor, token_name
    from console.terminal.moments import future
    from console.terminal.output import write_json, write_line
    from storage import console_tokens
    from storage.database import utc_now

    now, called = utc_now(), name or token_name()
    expires_at = None if expires is None else future(expires, now=now)
    with open_installation(state, file=config).write() as session:
        secret = console_tokens.make(session, called, actor=command_line_actor(), now=now, expires_at=expires_at)
    if as_json:
        write_json({"name": called, "token": secret, "expires_at": _written(expires_at)})
        return
    write_line(secret)
    typer.echo(f"token {called} is made, and shown this once; sign in with it, or send it as a Bearer token", err=True)


@app.command("tokens")
def list_tokens(
    state: State = DEFAULT_STATE, *, config: ConfigFile = None, revoked: AlsoRevoked = False, as_json: AsJson = False
) -> None:
    """List the tokens: whose each is, until when, and when it was last used. Their texts are nowhere.

    Example: oncue console tokens --state ./oncue-state
    """
    from console.installation import open_installation
    from console.terminal.output import write_json, write_table
    from storage import console_tokens
    from storage.database import utc_now

    with open_installation(state, file=config).read() as session:
        tokens = console_tokens.listed(session, revoked=revoked)
    now = utc_now()
    rows = [
        (one.name, one.state(now).value, one.made_by, *map(_written, (one.made_at, one.expires_at, one.used_at)))
        for one in tokens
    ]
    headers = ("name", "state", "made_by", "made_at", "expires_at", "used_at")
    if as_json:
        write_json([dict(zip(headers, row, strict=True)) for row in rows])
        return
    titles = tuple(header.replace("_", " ") for header in headers)
    write_table(
        "Tokens of the console", titles, rows, empty="no tokens: nobody can change anything through the console"
    )


@app.command("revoke")
def revoke_token(name: TokenName, state: State = DEFAULT_STATE, *, config: ConfigFile = None) -> None:
    """Take a token back at once, with every browser that signed in with it.

    Example: oncue console revoke anna --state ./oncue-state
    """
    from console.installation import open_installation
    from console.terminal.actor import command_line_actor
    from console.terminal.output import write_line
    from storage import console_tokens
    from storage.database import utc_now

    with open_installation(state, file=config).write() as session:
        console_tokens.revoke(session, name, actor=command_line_actor(), now=utc_now())
    write_line(f"token {name} is revoked")


def _written(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="seconds")
