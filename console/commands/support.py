"""`oncue support`: the labelled examples that the few-shot head is fitted on."""

from __future__ import annotations

import typer

from console.terminal.options import DEFAULT_STATE, AsJson, ConfigFile, State

app = typer.Typer(no_args_is_help=True, help="The support set of the few-shot head.")


@app.command("list")
def show_support(state: State = DEFAULT_STATE, *, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """List how many examples there are of each task, split and label.

    Example: oncue support list --state ./oncue-state
    """
    from collections import Counter

    from console.installation import open_installation
    from console.terminal.output import write_json, write_table
    from storage.fewshot import items, tasks

    with open_installation(state, file=config).read() as session:
        found = [(task.name, item) for task in tasks.listed(session) for item in items.in_use(session, task)]
    counts = sorted(Counter((task, item.split.value, item.label) for task, item in found).items())
    if as_json:
        write_json([{"task": task, "split": split, "label": label, "items": n} for (task, split, label), n in counts])
        return
    rows = [(*key, number) for key, number in counts]
    write_table("Support set", ("task", "split", "label", "items"), rows, empty="no examples yet")


@app.command("import")
def import_support(state: State = DEFAULT_STATE, *, config: ConfigFile = None) -> None:
    """Set up the shipped task where it is not there yet: items, adapter, evaluation. Workers do it by themselves.

    Example: oncue support import --state ./oncue-state
    """
    from console.installation import open_installation
    from console.terminal.actor import command_line_actor
    from console.terminal.output import write_line
    from workers.fewshot.starter import install_starter

    installation = open_installation(state, file=config)
    installation.require()
    with installation.using_database():
        added = install_starter(installation.settings.worker, installation.database, actor=command_line_actor())
    write_line(f"{added} examples added")
