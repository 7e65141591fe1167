"""`oncue worklist`: analysed studies in the order to read them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from console.terminal.options import DEFAULT_STATE, AsJson, ConfigFile, Limit, State

if TYPE_CHECKING:
    from storage.worklist import StudyEntry


def show_worklist(
    state: State = DEFAULT_STATE, *, config: ConfigFile = None, as_json: AsJson = False, limit: Limit = 500
) -> None:
    """List analysed studies in reading order: priority, then confidence, then arrival.

    Example: oncue worklist --state ./oncue-state
    """
    from console.schemas import WorklistForm
    from console.terminal.listings import Listing
    from storage import worklist

    headers = ("priority", "study", "rev", "finding", "label", "ml", "confidence", "routes", "accession", "UID")
    listing = Listing("Worklist", headers, _row, WorklistForm.model_validate, empty="nothing has been analysed yet")
    listing.show(lambda session: worklist.worklist(session, limit=limit), state, config=config, as_json=as_json)


def _row(entry: StudyEntry) -> tuple[object, ...]:
    from console.terminal.route_results import in_one_cell

    result = (entry.result_revision, entry.finding, entry.label, entry.volume_ml, entry.confidence)
    return entry.priority, entry.id, *result, in_one_cell(entry), entry.accession_number, entry.study_instance_uid
