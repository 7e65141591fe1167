"""`oncue studies` and `oncue worklist`: what arrived, and in which order to read it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from console.commands import explaining
from console.commands.options import DEFAULT_STATE, AsJson, ConfigFile, Limit, State

if TYPE_CHECKING:
    from storage.worklist import StudyEntry

app = typer.Typer(no_args_is_help=True, help="Studies as they arrived, and what their results rest on.")


@app.command("list")
def show_studies(
    state: State = DEFAULT_STATE, *, config: ConfigFile = None, as_json: AsJson = False, limit: Limit = 500
) -> None:
    """List studies, the newest arrivals first.

    Example: oncue studies list --state ./oncue-state --json
    """
    from console.commands.listings import Listing
    from console.forms import StudyForm
    from storage import worklist

    headers = ("study", "rev", "state", "priority", "images", "finding", "ml", "confidence", "code", "UID")
    listing = Listing("Studies", headers, _row, StudyForm.of, empty="no study has arrived yet")
    listing.show(lambda session: worklist.studies(session, limit=limit), state, config=config, as_json=as_json)


def show_worklist(
    state: State = DEFAULT_STATE, *, config: ConfigFile = None, as_json: AsJson = False, limit: Limit = 500
) -> None:
    """List analysed studies in reading order: priority, then confidence, then arrival.

    Example: oncue worklist --state ./oncue-state
    """
    from console.commands.listings import Listing
    from console.forms import WorklistForm
    from storage import worklist

    headers = ("priority", "study", "rev", "finding", "label", "ml", "confidence", "accession", "UID")
    listing = Listing("Worklist", headers, _reading_row, WorklistForm.of, empty="nothing has been analysed yet")
    listing.show(lambda session: worklist.worklist(session, limit=limit), state, config=config, as_json=as_json)


def _row(entry: StudyEntry) -> tuple[object, ...]:
    result = (entry.finding, entry.volume_ml, entry.confidence)
    arrived = (entry.id, entry.revision, entry.state, entry.priority, entry.instances)
    return *arrived, *result, entry.code, entry.study_instance_uid


def _reading_row(entry: StudyEntry) -> tuple[object, ...]:
    result = (entry.result_revision, entry.finding, entry.label, entry.volume_ml, entry.confidence)
    return entry.priority, entry.id, *result, entry.accession_number, entry.study_instance_uid


explaining.register(app)
