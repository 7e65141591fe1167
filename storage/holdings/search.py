"""What is held, as peers search it: patients, studies, series and objects that match keys, in pages.

The newest study comes first, its series and their objects by number (PS3.4 C.4.1, PS3.18 10.6). Only what is held is
answered: files that retention deleted, versions that were corrected and results that were superseded are not.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import Select, select, tuple_
from sqlalchemy.orm import Session

from storage.attributes import Attributes, Element
from storage.database import Database
from storage.errors import QuestionInvalid
from storage.holdings import answers, candidates, images, related
from storage.holdings.answers import OF_PATIENT, OF_STUDY, HeldImage
from storage.holdings.keys import conditions
from storage.holdings.question import HoldingsQuestion, Level
from storage.holdings.related import Contents, Totals
from storage.holdings.tables import HeldSeriesRow, HeldStudyRow
from storage.holdings.tags import Tag

MOST_KEYS = 128
_AT_ONCE = 200
_Query = TypeVar("_Query", bound=Select[Any])
_Row = TypeVar("_Row")
_UNIQUE = {
    Level.PATIENT: Tag.PatientID,
    Level.STUDY: Tag.StudyInstanceUID,
    Level.SERIES: Tag.SeriesInstanceUID,
    Level.IMAGE: Tag.SOPInstanceUID,
}


@dataclass(frozen=True, slots=True)
class Page:
    """Some of the answers to a question, and whether there are more behind them."""

    data_sets: tuple[Attributes, ...]
    is_more: bool


def search(session: Session, question: HoldingsQuestion) -> Page:
    """Return a page of answers; QuestionInvalid where a key is none of its attribute, or there are too many.

    Without a limit the page holds everything: ``matching`` reads that piece by piece.
    """
    _require(question)
    return _found(session, question)


def matching(database: Database, question: HoldingsQuestion) -> Iterator[Attributes]:
    """Yield every answer from the question's offset on, however many; each page is read in a transaction of its own.

    Nothing is answered twice where something comes or goes meanwhile. Errors as of ``search``.
    """
    _require(question)
    seen: set[str] = set()
    page_question, is_more = replace(question, limit=_AT_ONCE), True
    while is_more:
        with database.read() as session:
            page = search(session, page_question)
        for data_set in page.data_sets:
            name = data_set.value(_UNIQUE[question.level])
            if name not in seen or not name:
                yield data_set
            seen.add(name)
        page_question = replace(page_question, offset=page_question.offset + _AT_ONCE)
        is_more = page.is_more


def _require(question: HoldingsQuestion) -> None:
    if len(question.keys.elements) > MOST_KEYS:
        raise QuestionInvalid(f"more than {MOST_KEYS} keys")
    if question.offset < 0 or (question.limit is not None and question.limit < 1):
        raise QuestionInvalid("a page begins at 0 or behind it, and holds at least one answer")


def _found(session: Session, question: HoldingsQuestion) -> Page:
    asked = conditions(question)
    match question.level:
        case Level.PATIENT:
            ids, is_more = _some(session.scalars(_paged(candidates.patients(asked), question)).all(), question)
            return Page(_patients(session, question, ids), is_more)
        case Level.STUDY:
            rows, is_more = _some(session.scalars(_paged(candidates.studies(asked), question)).all(), question)
            return Page(_studies(session, question, rows), is_more)
        case Level.SERIES:
            series, is_more = _some(session.scalars(_paged(candidates.series(asked), question)).all(), question)
            return Page(_series(session, question, series), is_more)
        case Level.IMAGE:
            end = None if question.limit is None else question.offset + question.limit + 1
            found = islice(images.found(session, asked), question.offset, end)
            some, is_more = _some(list(found), question)
            return Page(_images(session, question, some), is_more)


def _paged(query: _Query, question: HoldingsQuestion) -> _Query:
    """Return a query for the rows of a page, and for one behind it."""
    limit = None if question.limit is None else question.limit + 1
    return query.offset(question.offset or None).limit(limit)


def _some(rows: Sequence[_Row], question: HoldingsQuestion) -> tuple[Sequence[_Row], bool]:
    """Return the rows of a page, and whether there are more behind it."""
    is_more = question.limit is not None and len(rows) > question.limit
    return rows[: question.limit], is_more


def _patients(session: Session, question: HoldingsQuestion, study_ids: Sequence[int]) -> tuple[Attributes, ...]:
    about = _about(session, question, study_ids)
    rows = (about.studies[study_id] for study_id in study_ids)
    return tuple(answers.answer(question, answers.of_patient(row, about.totals.get(row.patient_id))) for row in rows)


def _studies(session: Session, question: HoldingsQuestion, rows: Sequence[HeldStudyRow]) -> tuple[Attributes, ...]:
    study_ids = [row.study_id for row in rows]
    about, is_held = _about(session, question, study_ids), candidates.still_held(session, study_ids)
    return tuple(answers.answer(question, about.of_study(row.study_id)) for row in rows if row.study_id in is_held)


def _series(session: Session, question: HoldingsQuestion, rows: Sequence[HeldSeriesRow]) -> tuple[Attributes, ...]:
    study_ids = [row.study_id for row in rows]
    about, is_held = _about(session, question, study_ids), candidates.series_still_held(session, set(study_ids))
    return tuple(
        answers.answer(question, about.of_series(row))
        for row in rows
        if (row.study_id, row.series_instance_uid) in is_held
    )


def _images(session: Session, question: HoldingsQuestion, found: Sequence[HeldImage]) -> tuple[Attributes, ...]:
    about = _about(session, question, [image.study_id for image in found])
    names = {(image.study_id, image.series_instance_uid) for image in found}
    series = {name: about.of_series(row) for name, row in _series_rows(session, names).items()}
    return tuple(
        answers.answer(
            question,
            {**series.get((image.study_id, image.series_instance_uid), {}), **answers.of_image(image)},
        )
        for image in found
    )


@dataclass(frozen=True, slots=True)
class _About:
    """What answers say of the studies that they are of; what was not asked for is not there."""

    studies: Mapping[int, HeldStudyRow]
    contents: Mapping[int, Contents]
    totals: Mapping[str, Totals]

    def of_study(self, study_id: int) -> Mapping[str, Element]:
        row = self.studies[study_id]
        return answers.of_study(row, self.contents.get(study_id), self.totals.get(row.patient_id))

    def of_series(self, row: HeldSeriesRow) -> Mapping[str, Element]:
        return {**self.of_study(row.study_id), **answers.of_series(row, self.contents.get(row.study_id))}


def _about(session: Session, question: HoldingsQuestion, study_ids: Collection[int]) -> _About:
    distinct = set(study_ids)
    rows = select(HeldStudyRow).where(HeldStudyRow.study_id.in_(distinct))
    studies = {row.study_id: row for row in session.scalars(rows)}
    patients = [row.patient_id for row in studies.values()]
    return _About(
        studies,
        related.contents(session, distinct) if answers.wants(question, OF_STUDY) else {},
        related.of_patients(session, patients) if answers.wants(question, OF_PATIENT) else {},
    )


def _series_rows(session: Session, names: Collection[tuple[int, str]]) -> dict[tuple[int, str], HeldSeriesRow]:
    is_one = tuple_(HeldSeriesRow.study_id, HeldSeriesRow.series_instance_uid).in_(names)
    rows = session.scalars(select(HeldSeriesRow).where(is_one))
    return {(row.study_id, row.series_instance_uid): row for row in rows}
