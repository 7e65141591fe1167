"""What the pages and the API read of the history; who reads it goes on record before it is shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import UTC
from typing import TypeVar
from urllib.parse import urlencode

from sqlalchemy.orm import Session

from console.history.asking import Asked, study_name, study_uid
from storage.database import Database, utc_now
from storage.history import questions, readings
from storage.history.facets import Facets, facets
from storage.history.question import Order, Question
from storage.history.questions import Page
from storage.history.readings import Reader
from storage.history.sightings import Sighting, sightings
from storage.history.timeline import Timeline, timeline

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class Answer:
    """A page of the history, with the counts of the whole question where they were asked for."""

    page: Page
    facets: Facets | None


@dataclass(frozen=True, slots=True)
class HistoryViews:
    """The questions that pages and API put to one database. Times without a zone are UTC, as on every page."""

    database: Database

    def question(self, asked: Asked) -> Question:
        """Return what filters ask for; QuestionInvalid for what is none."""
        with self.database.read() as session:
            return asked.question(session, now=utc_now(), zone=UTC)

    def answer(
        self, asked: Asked, *, actor: str, order: Order, limit: int, after: str | None = None, with_facets: bool = False
    ) -> Answer:
        """Return a page of events. Turning to the next page within minutes is no event of its own."""
        question = self.question(asked)
        with self.database.write() as session:
            reader = Reader(actor, utc_now())
            readings.history_asked(session, question, reader, turns_page=after is not None)
        with self.database.read() as session:
            page = questions.page(session, question, order, limit=limit, after=after)
            return Answer(page, facets(session, question) if with_facets else None)

    def address_of(self, typed: Mapping[str, list[str]]) -> str:
        """Return the address of the page that answers a form. It names a patient by the key, a study by our number."""
        known = {field.name for field in fields(Asked)}
        filled = {name: values[0].strip() for name, values in typed.items() if name in known and values[0].strip()}
        with self.database.read() as session:
            question = Asked(**filled).question(session, now=utc_now(), zone=UTC)
            if filled.pop("patient", None):
                filled["patient_key"] = question.patient_key or ""
            if question.study is not None:
                filled["study"] = study_name(session, question.study)
        return f"/audit?{urlencode(filled)}" if filled else "/audit"

    def timeline(self, study: str, *, actor: str | None) -> Timeline:
        """Return what happened to a study; no actor where it is part of a page that is on record already."""
        return self._read(study, timeline, "timeline", actor)

    def sightings(self, study: str, *, actor: str) -> tuple[Sighting, ...]:
        """Return who saw a study."""
        return self._read(study, sightings, "sightings", actor)

    def _read(self, study: str, read: Callable[[Session, str], Found], what: str, actor: str | None) -> Found:
        with self.database.read() as session:
            uid = study_uid(session, study)
            found = read(session, uid)
        if actor is not None:
            with self.database.write() as session:
                readings.history_read(session, uid, Reader(actor, utc_now()), what=what)
        return found
