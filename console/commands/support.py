"""`oncue support`: the labelled examples that the few-shot head is fitted on."""

from __future__ import annotations

import typer

from console.commands.options import DEFAULT_STATE, AsJson, ConfigFile, State

app = typer.Typer(no_args_is_help=True, help="The support set of the few-shot head.")


@app.command("list")
def show_support(state: State = DEFAULT_STATE, *, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """List how many examples there are of each task, label and way of embedding.

    Example: oncue support list --state ./oncue-state
    """
    from dataclasses import asdict

    from console.commands.output import write_json, write_table
    from console.installation import open_installation
    from storage import support

    with open_installation(state, file=config).read() as session:
        groups = support.groups(session)
    if as_json:
        write_json([asdict(group) for group in groups])
        return
    rows = [(group.task, group.label, group.items, group.embedding_key) for group in groups]
    write_table("Support set", ("task", "label", "items", "embedded with"), rows, empty="no examples yet")


@app.command("import")
def import_support(state: State = DEFAULT_STATE, *, config: ConfigFile = None) -> None:
    """Put the shipped examples into the database where their task has none yet; workers do it by themselves.

    Example: oncue support import --state ./oncue-state
    """
    from console.commands.actors import command_line_actor
    from console.commands.output import write_line
    from console.installation import open_installation
    from workers.support_set import import_starter

    installation = open_installation(state, file=config)
    installation.require()
    added = import_starter(installation.settings.worker, installation.database, actor=command_line_actor())
    installation.database.dispose()
    write_line(f"{added} examples added")
