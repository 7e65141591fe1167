"""The JSON objects of `oncue fetch`."""

from __future__ import annotations

from sqlalchemy.orm import Session

from console.record_schema import IsoTime, RecordSchema
from storage.domain import Lane
from storage.fetching import sources, studies
from storage.fetching.sources import FetchWay, RecordedSource
from storage.fetching.studies import FetchedStudy
from storage.states import FetchState


class FetchSourceForm(RecordSchema):
    """One source. ``filter`` are its query keys; ``code`` and ``reason`` say why it could not be asked last.

    ``next_ask_at`` is null for a source that is asked only when somebody says so.
    """

    name: str
    address: str
    way: FetchWay
    filter: dict[str, str]
    every_seconds: int | None
    settle_seconds: int
    hours: str | None
    studies_per_hour: int | None
    priors: int | None
    lane: Lane
    credentials: str | None
    paused: bool
    waiting: int
    fetched: int
    failed: int
    asked_at: IsoTime | None
    next_ask_at: IsoTime | None
    code: str | None
    reason: str | None
    added_by: str
    added_at: IsoTime
    changed_at: IsoTime


class FetchedStudyForm(RecordSchema):
    """One study on its way from a source. ``instances`` is how many it counts without those that oncue wrote.

    ``here`` is how many of them are kept here; ``code`` and ``reason`` say what went wrong last.
    """

    id: int
    source: str
    study_instance_uid: str
    state: FetchState
    is_prior: bool
    instances: int | None
    here: int
    attempts: int
    asked_by: str
    opened_at: IsoTime
    next_attempt_at: IsoTime
    fetched_at: IsoTime | None
    code: str | None
    reason: str | None


def source_forms(session: Session) -> list[FetchSourceForm]:
    """Return every source by name."""
    numbers = studies.counts(session)
    return [_source(recorded, numbers) for recorded in sources.listed(session)]


def source_form(session: Session, name: str) -> FetchSourceForm:
    """Return one source; RecordMissing where there is none of this name."""
    return _source(sources.find(session, name), studies.counts(session))


def study_form(session: Session, study: FetchedStudy) -> FetchedStudyForm:
    """Return one study on its way, with how much of it is here."""
    names = FetchedStudyForm.model_fields.keys() & study.__dataclass_fields__.keys()
    values = {name: getattr(study, name) for name in names}
    return FetchedStudyForm.model_validate({**values, "here": studies.here(session, study.study_instance_uid)})


def _source(recorded: RecordedSource, numbers: studies.Counts) -> FetchSourceForm:
    entry = recorded.entry
    names = FetchSourceForm.model_fields.keys() & entry.__dataclass_fields__.keys()
    times = ("asked_at", "next_ask_at", "code", "reason", "added_by", "added_at", "changed_at")
    waiting = (FetchState.SETTLING, FetchState.DUE, FetchState.FETCHING)
    return FetchSourceForm.model_validate(
        {
            **{name: getattr(entry, name) for name in names},
            **{name: getattr(recorded, name) for name in times},
            "filter": dict(entry.wanted.keys),
            "hours": None if entry.hours is None else str(entry.hours),
            "waiting": sum(numbers.get((entry.name, state), 0) for state in waiting),
            "fetched": numbers.get((entry.name, FetchState.FETCHED), 0),
            "failed": numbers.get((entry.name, FetchState.FAILED), 0),
        }
    )
