"""`oncue retention`: which rules are in force, what they would delete, and one round of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from console.terminal.options import DEFAULT_STATE, AsJson, ConfigFile, State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from console.retention_forms import RoundForm
    from storage.retention.plans import PlanLine
    from storage.retention.rounds import Retention

app = typer.Typer(no_args_is_help=True, help="Retention: what is deleted of studies, by rules of the settings.")

Most = Annotated[
    int | None, typer.Option("--most", metavar="N", min=1, help="End behind the study with which N files are deleted.")
]


@app.command("list")
def list_rules(state: State = DEFAULT_STATE, *, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """List the rules in force, in the order in which they are tried.

    Example: oncue retention list --state ./oncue-state
    """
    from console.config import read
    from console.terminal.output import write_forms, write_line, write_table

    settings = read(state, file=config).settings.retention
    if as_json:
        write_forms(settings.rules)
        return
    rows = [
        (rule.name, ", ".join(rule.delete), ", ".join(rule.states), ", ".join(rule.priorities), rule.says)
        for rule in settings.rules
    ]
    headers = ("rule", "of", "states", "priorities", "what becomes of it")
    write_table("Retention", headers, rows, empty="there are no rules: nothing is ever deleted; see docs/retention.md")
    if settings.rules and not settings.enabled:
        write_line("retention.enabled is not set: the gateway deletes nothing, `oncue retention run` does")


@app.command("plan")
def show_plan(state: State = DEFAULT_STATE, *, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Say what the rules would delete now, and what they keep and why. Nothing is changed.

    Example: oncue retention plan --state ./oncue-state
    """
    from console.installation import open_installation
    from console.retention_forms import PlanLineForm
    from console.terminal.output import write_forms
    from storage.database import utc_now
    from storage.retention.plans import plan

    installation = open_installation(state, file=config)
    with installation.read() as session:
        lines = plan(session, installation.objects, installation.settings.retention.rules, now=utc_now())
    if as_json:
        write_forms([PlanLineForm.of(line) for line in lines])
        return
    _show(lines)


@app.command("run")
def run_round(
    state: State = DEFAULT_STATE, *, config: ConfigFile = None, most: Most = None, as_json: AsJson = False
) -> None:
    """Delete what the rules allow now, until nothing is left to do, whether or not retention.enabled is set.

    Example: oncue retention run --state ./oncue-state
    """
    import os
    import uuid

    from console.installation import open_installation
    from console.terminal.actor import command_line_actor
    from console.terminal.output import write_forms, write_line
    from storage.database import utc_now
    from storage.retention.rounds import Retention

    installation = open_installation(state, file=config)
    installation.require()
    settings = installation.settings.retention
    owner = f"command-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    retention = Retention(
        installation.database,
        installation.objects,
        settings.rules,
        owner=owner,
        actor=command_line_actor(),
        clock=utc_now,
    )
    try:
        done = _until_done(retention, settings.files_per_round, most)
    finally:
        installation.database.dispose()
    if as_json:
        write_forms([done])
        return
    write_line(f"{done.studies} deletions put on record, {done.files} files gone, {_megabytes(done.size_bytes)}")
    if done.waiting_files:
        write_line(f"{done.waiting_files} files were in use within the hour, or are shared: a later round looks again")


def _until_done(retention: Retention, files_per_round: int, most: int | None) -> RoundForm:
    """Do round after round, each no larger than the gateway's."""
    from console.retention_forms import RoundForm
    from storage.retention import discarding

    total = RoundForm()
    left = most
    while left is None or left > 0:
        done = retention.run(most_files=files_per_round if left is None else min(left, files_per_round))
        total = total.plus(done)
        left = None if left is None else left - max(done.deleted.files, done.freed.files)
        if not done.more:
            break
    with retention.database.read() as session:
        return total.model_copy(update={"waiting_files": discarding.waiting(session).files})


def _show(lines: Sequence[PlanLine]) -> None:
    from console.terminal.output import write_table

    rows = [
        (line.rule.name, line.kind, line.studies, line.files, _megabytes(line.size_bytes), line.rule.says)
        for line in lines
    ]
    headers = ("rule", "of", "studies", "files", "frees at most", "when")
    write_table("To be deleted now", headers, rows, empty="there are no rules: nothing is ever deleted")
    kept = [
        (line.rule.name, line.kind, each.studies, each.obstacle, ", ".join(map(str, each.examples)))
        for line in lines
        for each in line.kept
    ]
    if kept:
        write_table("Old enough, and kept", ("rule", "of", "studies", "why", "for example"), kept, empty="")


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1_000_000:,.1f} MB"
