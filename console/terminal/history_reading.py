"""Reads the history for somebody at the command line, and puts the reading on record."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy.orm import Session

from console.history.asking import Asked, study_uid
from console.installation import Installation
from console.terminal.event_formats import Format, write_event_table, write_streamed
from console.terminal.output import write_json, write_line, write_table
from console.terminal.recorded_reading import record_reading
from storage.audit import AuditEvent
from storage.database import utc_now
from storage.history import questions, readings
from storage.history.facets import Facets, Tally, facets
from storage.history.question import Order, Question

if TYPE_CHECKING:
    from storage.history.questions import Page

_PAGE = 1000
_MOST_DAYS = 14
Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class Listing:
    """How events are listed; ``limit`` 0 is all of them, ``after`` the cursor of the page before."""

    order: Order
    limit: int
    after: str | None
    form: Format
    with_facets: bool


def answer(installation: Installation, asked: Asked, listing: Listing) -> None:
    """Write the events that pass the filters, and put on record that they were asked for."""
    installation.require()
    database = installation.database
    with installation.using_database():
        with database.read() as session:
            question = asked.question(session, now=utc_now())
        record_reading(database, partial(_record_asked, question, listing))
        with database.read() as session:
            _write(session, question, listing)


def read_history(installation: Installation, study: str, read: Callable[[Session, str], Found], *, what: str) -> Found:
    """Return what ``read`` finds on record of a study, and put on record that it was read."""
    installation.require()
    database = installation.database
    with installation.using_database():
        with database.read() as session:
            uid = study_uid(session, study)
            found = read(session, uid)
        record_reading(database, partial(_record, uid, what))
        return found


def _record_asked(question: Question, listing: Listing, session: Session, reader: readings.Reader) -> None:
    readings.history_asked(session, question, reader, turns_page=listing.after is not None)


def _record(uid: str, what: str, session: Session, reader: readings.Reader) -> None:
    readings.history_read(session, uid, reader, what=what)


def _write(session: Session, question: Question, listing: Listing) -> None:
    if listing.form.streams:
        write_streamed(listing.form, _streamed(session, question, listing))
        return
    page = questions.page(session, question, listing.order, limit=listing.limit, after=listing.after)
    counts = facets(session, question) if listing.with_facets else None
    if listing.form is Format.JSON:
        _write_page(page, counts)
        return
    write_event_table("History", page.events, empty="no such event")
    if counts is not None:
        _write_facets(counts)
    if page.cursor is not None:
        write_line(f"more: --after {page.cursor}")


def _streamed(session: Session, question: Question, listing: Listing) -> Iterator[Sequence[AuditEvent]]:
    """Return pages until the limit, or to the end; what follows the limit is named on standard error."""
    left, after = listing.limit or None, listing.after
    while True:
        size = _PAGE if left is None else min(_PAGE, left)
        page = questions.page(session, question, listing.order, limit=size, after=after)
        yield page.events
        after = page.cursor
        left = None if left is None else left - len(page.events)
        if after is None:
            return
        if left == 0:
            sys.stderr.write(f"oncue: more: --after {after}\n")
            return


def _write_page(page: Page, counts: Facets | None) -> None:
    from console.history.forms import EventPageForm, FacetsForm
    from console.schemas.events import EventForm

    form = EventPageForm(
        events=[EventForm.model_validate(event) for event in page.events],
        cursor=page.cursor,
        facets=None if counts is None else FacetsForm.model_validate(counts),
    )
    left_out = {"facets"} if counts is None else set()
    write_json(form.model_dump(mode="json", exclude=left_out))


def _write_facets(counts: Facets) -> None:
    among = "" if counts.is_complete else " among the newest 100,000"
    for name, tallies in (("action", counts.actions), ("actor", counts.actors), ("day", counts.days[:_MOST_DAYS])):
        write_table(f"By {name}{among}", (name, "events"), [_row(tally) for tally in tallies], empty=f"no {name}")


def _row(tally: Tally) -> tuple[str, int]:
    return tally.value, tally.count
