"""`oncue worklist`: analysed studies in the order to read them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from console.terminal.options import (
    DEFAULT_STATE,
    After,
    AsJson,
    ConfigFile,
    Limit,
    OfAccession,
    OfPatient,
    OfPriority,
    Since,
    State,
    Until,
)

if TYPE_CHECKING:
    from storage.worklist import StudyEntry

Everything = Annotated[bool, typer.Option("--all", help="Show also those that were read or have left by age.")]


def show_worklist(
    state: State = DEFAULT_STATE,
    *,
    config: ConfigFile = None,
    as_json: AsJson = False,
    limit: Limit = 500,
    after: After = None,
    everything: Everything = False,
    priority: OfPriority = None,
    since: Since = None,
    until: Until = None,
    patient: OfPatient = None,
    accession: OfAccession = None,
) -> None:
    """List analysed studies in reading order: priority, then confidence, then arrival.

    A study leaves when it is marked as read (`oncue studies read`), or by age where console.worklist_hours says so.

    Example: oncue worklist --state ./oncue-state
    """
    from console.config import read
    from console.schemas.studies import ListedWorklistForm
    from console.terminal.listings import Listing
    from console.terminal.options import chosen, in_utc
    from storage import worklist
    from storage.database import utc_now
    from storage.domain import Priority
    from storage.study_pages import StudyFilter, StudyList

    wanted = StudyFilter(
        priority=chosen(Priority, priority),
        since=in_utc(since),
        until=in_utc(until),
        patient_id=patient,
        accession_number=accession,
    )
    is_narrowed = wanted != StudyFilter() or after is not None
    which = StudyList.ANALYSED if everything else StudyList.WORKLIST
    if not everything:
        wanted = wanted.in_time(read(state, file=config).settings.console.worklist_hours, now=utc_now())
    headers = ("priority", "study", "rev", "finding", "label", "ml", "confidence", "routes", "accession", "UID")
    empty = "nothing has been analysed yet" if everything else "nothing has been analysed yet, or all of it is read"
    if is_narrowed:
        empty = "no such study is analysed" if everything else "no such study is analysed, or all of them are read"
    form = ListedWorklistForm.model_validate
    listing = Listing("Worklist", headers, _row, form, empty=empty, cursor=lambda entry: entry.cursor)
    listing.show(
        lambda session: worklist.listed(session, which, limit=limit, after=after, wanted=wanted),
        state,
        config=config,
        as_json=as_json,
        limit=limit,
    )


def _row(entry: StudyEntry) -> tuple[object, ...]:
    from console.terminal.route_results import in_one_cell

    result = (entry.result_revision, entry.finding, entry.label, entry.volume_ml, entry.confidence)
    return entry.priority, entry.id, *result, in_one_cell(entry), entry.accession_number, entry.study_instance_uid
