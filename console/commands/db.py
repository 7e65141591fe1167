"""`oncue db`: the database's schema."""

from __future__ import annotations

import typer

from console.terminal.options import DEFAULT_STATE, AsJson, ConfigFile, State

app = typer.Typer(no_args_is_help=True, help="The database's schema.")


@app.command("upgrade")
def upgrade(state: State = DEFAULT_STATE, *, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Bring the database to the schema of this version; `oncue up` does it by itself.

    Example: oncue db upgrade --state ./oncue-state
    """
    from console.installation import open_installation
    from console.terminal.output import write_json, write_line
    from storage import revisions

    installation = open_installation(state, file=config)
    installation.prepare()
    installation.database.dispose()
    revision = revisions.expected_revision()
    if as_json:
        write_json({"revision": revision})
        return
    write_line(f"the database is at {revision}")


@app.command("check")
def check(state: State = DEFAULT_STATE, *, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Say whether the database has the schema that this version needs; exit code 1 where it has not.

    Example: oncue db check --state ./oncue-state
    """
    from console.installation import open_installation
    from console.terminal.output import write_json, write_line
    from storage import migrate, revisions

    installation = open_installation(state, file=config)
    installation.require()
    try:
        migrate.check(installation.database)
    finally:
        installation.database.dispose()
    revision = revisions.expected_revision()
    if as_json:
        write_json({"revision": revision})
        return
    write_line(f"the database is at {revision} and equals the models")
