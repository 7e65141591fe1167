"""`oncue db`: the database's schema."""

from __future__ import annotations

from typing import Annotated

import typer

from console.terminal.options import DEFAULT_STATE, AsJson, ConfigFile, State

_MOST_DIFFERENCES = 20

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


Make = Annotated[bool, typer.Option("--create", help="Make the roles, and grant what each may do; twice does no harm.")]
Check = Annotated[bool, typer.Option("--check", help="Say where the grants differ from these; what is done unasked.")]
Print = Annotated[bool, typer.Option("--print", help="Write the SQL for whoever runs it, and change nothing.")]
Prefix = Annotated[
    str | None, typer.Option("--prefix", metavar="NAME", help="What the roles' names begin with; default: oncue.")
]


@app.command("roles")
def roles(
    state: State = DEFAULT_STATE,
    *,
    config: ConfigFile = None,
    as_json: AsJson = False,
    create: Make = False,
    _check: Check = False,
    print_sql: Print = False,
    prefix: Prefix = None,
) -> None:
    """Make or check the roles of a PostgreSQL database: migration, application, auditor, retention.

    Example: oncue db roles --create --state ./oncue-state
    """
    from console.installation import open_installation
    from console.terminal.output import write_json, write_line
    from storage.errors import DatabaseRolesRefused
    from storage.roles import differences, rights, script

    database = open_installation(state, file=config).database
    try:
        if print_sql:
            write_line(";\n".join(script.script(prefix or rights.DEFAULT_PREFIX)) + ";")
            return
        script.require_postgresql(database)
        if create:
            script.create(database, prefix or rights.DEFAULT_PREFIX)
        with database.read() as session:
            used = rights.checked_prefix(prefix or script.prefix_of(session) or rights.DEFAULT_PREFIX)
            found = differences.differences(session, used)
    finally:
        database.dispose()
    if as_json:
        write_json({"prefix": used, "differences": list(found)})
    if found:
        raise DatabaseRolesRefused(
            f"{'; '.join(found[:_MOST_DIFFERENCES])}: `oncue db roles --create` mends grants; the rest is for the DBA"
        )
    if not as_json:
        write_line(f"the roles {used}_migrate, _app, _auditor and _retention may do what they should, and nothing else")
