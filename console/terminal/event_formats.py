"""Events as tables, JSON, JSON lines and CSV."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from storage.audit import AuditEvent

_DETAIL_CHARACTERS = 120
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for the beginning of a formula."""


class Format(StrEnum):
    """How events are written."""

    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"

    @property
    def streams(self) -> bool:
        """Whether events are written one by one, so that there may be any number of them."""
        return self in (Format.JSONL, Format.CSV)


def write_streamed(form: Format, pages: Iterable[Sequence[AuditEvent]]) -> None:
    """Write pages of events as they come: JSON lines, or CSV under one header."""
    write = write_lines if form is Format.JSONL else write_csv
    first = True
    for events in pages:
        write(events, with_header=first)
        sys.stdout.flush()
        first = False


def write_lines(events: Sequence[AuditEvent], *, with_header: bool = True) -> None:
    """Write each event as JSON on a line of its own; lines have no header."""
    from console.schemas.events import EventForm

    del with_header
    for event in events:
        line = EventForm.model_validate(event).model_dump(mode="json")
        sys.stdout.write(json.dumps(line, ensure_ascii=False) + "\n")


def write_csv(events: Sequence[AuditEvent], *, with_header: bool = True) -> None:
    """Write events as CSV (RFC 4180). A cell that a spreadsheet would calculate gets an apostrophe before it."""
    from console.schemas.events import EventForm

    names = [*EventForm.model_fields]
    text = io.StringIO()
    rows = csv.writer(text)
    if with_header:
        rows.writerow(names)
    rows.writerows([_cell(getattr(event, name)) for name in names] for event in events)
    sys.stdout.write(text.getvalue())


def write_event_table(title: str, events: Sequence[AuditEvent], *, empty: str) -> None:
    """Write events as a table, with details cut to a line; `oncue audit show` has them whole."""
    from console.terminal.output import write_table

    rows = [(event.seq, event.at[:19], event.tag, event.subject, event.actor, _cut(event.details)) for event in events]
    write_table(title, ("seq", "at (UTC)", "event", "subject", "actor", "details"), rows, empty=empty)


def _cell(value: object) -> str:
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text


def _cut(details: str) -> str:
    return details if len(details) <= _DETAIL_CHARACTERS else f"{details[:_DETAIL_CHARACTERS]} ..."
