"""`oncue studies` and `oncue worklist`: what arrived, and in which order to read it."""

from __future__ import annotations

import typer

from console.commands import explaining
from console.commands.options import DEFAULT_STATE, AsJson, ConfigFile, Limit, State

app = typer.Typer(no_args_is_help=True, help="Studies as they arrived, and what their results rest on.")


@app.command("list")
def show_studies(
    state: State = DEFAULT_STATE, *, config: ConfigFile = None, as_json: AsJson = False, limit: Limit = 500
) -> None:
    """List studies, the newest arrivals first.

    Example: oncue studies list --state ./oncue-state --json
    """
    from console.commands.output import write_forms, write_table
    from console.forms import StudyForm
    from console.installation import open_installation
    from storage import worklist

    with open_installation(state, file=config).read() as session:
        entries = worklist.studies(session, limit=limit)
    if as_json:
        write_forms([StudyForm.of(entry) for entry in entries])
        return
    headers = ("study", "rev", "state", "priority", "images", "finding", "ml", "confidence", "code", "UID")
    rows = [
        (e.id, e.revision, e.state, e.priority, e.instances, e.finding, e.volume_ml, e.confidence, e.code,
         e.study_instance_uid)
        for e in entries
    ]  # fmt: skip
    write_table("Studies", headers, rows, empty="no study has arrived yet")


def show_worklist(
    state: State = DEFAULT_STATE, *, config: ConfigFile = None, as_json: AsJson = False, limit: Limit = 500
) -> None:
    """List analysed studies in reading order: priority, then confidence, then arrival.

    Example: oncue worklist --state ./oncue-state
    """
    from console.commands.output import write_forms, write_table
    from console.forms import WorklistForm
    from console.installation import open_installation
    from storage import worklist

    with open_installation(state, file=config).read() as session:
        entries = worklist.worklist(session, limit=limit)
    if as_json:
        write_forms([WorklistForm.of(entry) for entry in entries])
        return
    headers = ("priority", "study", "rev", "finding", "label", "ml", "confidence", "accession", "UID")
    rows = [
        (e.priority, e.id, e.result_revision, e.finding, e.label, e.volume_ml, e.confidence, e.accession_number,
         e.study_instance_uid)
        for e in entries
    ]  # fmt: skip
    write_table("Worklist", headers, rows, empty="nothing has been analysed yet")


explaining.register(app)
