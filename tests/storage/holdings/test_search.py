"""Searches of what is held against a plain account of the rules of matching, on both databases."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.engine import make_url

from storage import matching
from storage.attributes import Attributes, element
from storage.database import Database, connect
from storage.errors import QuestionInvalid
from storage.holdings import search
from storage.holdings.keys import unmatched
from storage.holdings.question import HoldingsQuestion, Level
from storage.holdings.tables import HeldSeriesRow, HeldStudyRow
from storage.models import InstanceRow, StudyRow
from tests.support.held import found, keys, said, tag

NOW = datetime(2026, 3, 1, tzinfo=UTC)
_NAMES = ("Müller^Jürgen", "MULLER^JURGEN", "Muller^J", "O'Hara^Zoë", "Straße^A", "a%b_c^d", "x[y]^z", "", "Ödön^É\\")
_IDS = ("P1", "p1", "P10", "P_1", "P%1", "P[1]", "", "P\\1", "Ü9")
_DATES = ("20260101", "20260115", "20251231", "")
_TIMES = ("093000", "093000.5", "103015", "")
_MODALITIES = (("CT",), ("CT", "SR"), ("MR",), ("MR", "PT"))


@dataclass(frozen=True, slots=True)
class Study:
    """What is held of one study."""

    number: int
    name: str
    patient_id: str
    date: str
    time: str
    modalities: tuple[str, ...]

    @property
    def uid(self) -> str:
        return f"1.2.{self.number}"


_STUDIES = tuple(
    Study(
        number,
        _NAMES[number * 7 % len(_NAMES)],
        _IDS[number * 5 % len(_IDS)],
        _DATES[number % len(_DATES)],
        _TIMES[number // 3 % len(_TIMES)],
        _MODALITIES[number // 2 % len(_MODALITIES)],
    )
    for number in range(1, 64)
)


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.peer)])
def filled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """Return a database with the studies above."""
    database = connect(_url(request, tmp_path_factory))
    with database.write() as session:
        for study in _STUDIES:
            session.add(_study_row(study))
        session.flush()
        for study in _STUDIES:
            session.add(_held_row(study))
            for place, modality in enumerate(study.modalities):
                session.add(_series_row(study, place, modality))
                session.add(_instance_row(study, place, modality))
    yield database
    database.dispose()


def _url(request: pytest.FixtureRequest, folders: pytest.TempPathFactory) -> str:
    if request.param == "sqlite":
        template: Path = request.getfixturevalue("sqlite_template")
        path = folders.mktemp("search") / "oncue.sqlite"
        path.write_bytes(template.read_bytes())
        return f"sqlite:///{path}"
    server: str = request.getfixturevalue("postgresql_server")
    name: str = request.getfixturevalue("postgresql_template")
    maintenance = connect(server)
    with maintenance.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        connection.execute(text(f'CREATE DATABASE "search" TEMPLATE "{name}"'))
    maintenance.dispose()
    return make_url(server).set(database="search").render_as_string(hide_password=False)


_TEXTS = st.sampled_from([*_IDS, "P*", "*1", "P?", "?1", "*", "**1*", "P[*", "P_*", "P%*", "p\\*", "Ü?", "nobody"])
_ASKED_NAMES = st.sampled_from(
    [*_NAMES, "müll*", "MULLER JUR*", "*jur*", "?uller^j", "strasse^*", "a%*", "a_b*", "x[*", "o'hara zoe", "*", "^"]
)
_ASKED_DATES = st.sampled_from([*_DATES, "20260101-", "-20260101", "20260101-20260115", "2026.01.01", "20270101-"])
_ASKED_TIMES = st.sampled_from([*_TIMES, "09", "0930", "09-10", "-0930", "1030-", "093000.500", "0930-093000.4"])
_ASKED_MODALITIES = st.sampled_from(["", "CT", "SR", "M?", "*", "XA"])


_ASKED = st.fixed_dictionaries(
    {
        "PatientID": st.just("") | _TEXTS,
        "PatientName": st.just("") | _ASKED_NAMES,
        "StudyDate": st.just("") | _ASKED_DATES,
        "StudyTime": st.just("") | _ASKED_TIMES,
        "ModalitiesInStudy": st.just("") | _ASKED_MODALITIES,
    }
)


@given(asked=_ASKED)
@settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_studies_of_a_page_are_those_that_the_rules_say(filled: Database, asked: dict[str, str]) -> None:
    page = found(filled, Level.STUDY, limit=100, offset=0, **asked)
    wanted = [
        study
        for study in _STUDIES
        if _is_text(study.patient_id, asked["PatientID"])
        and _is_text(matching.folded(study.name), matching.folded(asked["PatientName"]))
        and _is_within(study.date, asked["StudyDate"].replace(".", ""))
        and _is_within(study.time, asked["StudyTime"])
        and any(_is_text(held, asked["ModalitiesInStudy"]) for held in study.modalities)
    ]
    newest_first = sorted(wanted, key=lambda study: (study.date, study.number), reverse=True)
    assert said(page, "StudyInstanceUID") == [study.uid for study in newest_first]


def test_pages_follow_each_other_without_a_gap(filled: Database) -> None:
    pages = [found(filled, Level.STUDY, limit=10, offset=offset, PatientID="") for offset in range(0, 70, 10)]
    assert [len(page.data_sets) for page in pages] == [10] * 6 + [3]
    assert [page.is_more for page in pages] == [True] * 6 + [False]
    uids = [uid for page in pages for uid in said(page, "StudyInstanceUID")]
    question = HoldingsQuestion(Level.STUDY, keys(PatientID=""), limit=None)
    assert [one.value(tag("StudyInstanceUID")) for one in search.matching(filled, question)] == uids
    assert sorted(uids) == sorted(study.uid for study in _STUDIES)


@pytest.mark.parametrize("level", list(Level))
def test_every_level_is_answered_by_its_names_and_what_was_asked_for(filled: Database, level: Level) -> None:
    page = found(filled, level, PatientID="P10", Modality="", InstanceNumber="", NumberOfStudyRelatedSeries="")
    held = [study for study in _STUDIES if study.patient_id == "P10"]
    below = sum(len(study.modalities) for study in held)
    assert len(page.data_sets) == {Level.PATIENT: 1, Level.STUDY: len(held)}.get(level, below)
    assert all(tag("PatientID") in data_set for data_set in page.data_sets)


@pytest.mark.parametrize(
    "wanted",
    [
        {"StudyDate": "yesterday"},
        {"StudyDate": "-"},
        {"StudyTime": "9"},
        {"StudyDate": "20260101-20260102-20260103"},
        {"StudyInstanceUID": [f"1.{number}" for number in range(1001)]},
    ],
)
def test_a_key_that_is_none_is_refused(filled: Database, wanted: dict[str, Any]) -> None:
    with pytest.raises(QuestionInvalid):
        found(filled, Level.STUDY, **wanted)


def test_keys_of_other_levels_and_unknown_ones_are_said_to_be_unmatched() -> None:
    wanted = keys(PatientName="A*", Modality="CT", PatientComments="x", StudyID="")
    assert unmatched(HoldingsQuestion(Level.STUDY, wanted)) == {tag("Modality"), tag("PatientComments")}
    assert unmatched(HoldingsQuestion(Level.SERIES, wanted)) == {tag("PatientComments")}


def _is_text(value: str, wanted: str) -> bool:
    """Say whether a value matches by PS3.4 C.2.2.2.1, C.2.2.2.3 and C.2.2.2.4."""
    if not wanted.strip("*"):
        return True
    pattern = "".join({"*": ".*", "?": "."}.get(part, re.escape(part)) for part in wanted)
    return re.fullmatch(pattern, value, re.DOTALL) is not None


def _is_within(value: str, wanted: str) -> bool:
    """Say whether a value lies within a range, whose ends cover all that begins as they do (PS3.4 C.2.2.2.5)."""
    if not wanted:
        return True
    first, _, last = wanted.partition("-") if "-" in wanted else (wanted, "", wanted)
    first, last = _exact(first), _exact(last)
    return bool(value) and value[: len(first)] >= first and (not last or value[: len(last)] <= last)


def _exact(value: str) -> str:
    """Return a time without zeros at the end of its fraction."""
    return value.rstrip("0").rstrip(".") if "." in value else value


def _study_row(study: Study) -> StudyRow:
    return StudyRow(
        id=study.number,
        study_instance_uid=study.uid,
        revision=1,
        lane="routine",
        opened_at=NOW,
        last_instance_at=NOW,
        patient_id=study.patient_id,
        accession_number="",
        study_date=study.date,
        study_description="",
    )


def _held_row(study: Study) -> HeldStudyRow:
    return HeldStudyRow(
        study_id=study.number,
        study_instance_uid=study.uid,
        patient_id=study.patient_id,
        folded_name=matching.folded(study.name),
        ideographic_name="",
        phonetic_name="",
        birth_date="",
        sex="",
        study_date=study.date,
        study_time=study.time,
        accession_number="",
        study_number="",
        description="",
        folded_referrer="",
        attributes=Attributes({tag("PatientName"): element("PN", {"Alphabetic": study.name})}).text(),
        is_due=False,
    )


def _series_row(study: Study, place: int, modality: str) -> HeldSeriesRow:
    return HeldSeriesRow(
        study_id=study.number,
        series_instance_uid=f"{study.uid}.{place}",
        modality=modality,
        series_number=place,
        description="",
        body_part="",
        series_date="",
        series_time="",
        performed_date="",
        performed_time="",
        written=False,
        attributes="{}",
    )


def _instance_row(study: Study, place: int, modality: str) -> InstanceRow:
    digest = f"{study.number}.{place}"
    return InstanceRow(
        study_id=study.number,
        revision=1,
        series_instance_uid=f"{study.uid}.{place}",
        sop_instance_uid=f"{study.uid}.{place}.1",
        sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        modality=modality,
        digest=digest,
        content_sha256=digest,
        size_bytes=1,
        calling_aet="MODALITY",
        received_at=NOW,
        current=True,
    )
