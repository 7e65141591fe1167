"""Studies that are held and searched: images are stored and registered, and their headers are read."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset

from dicom_gateway.queries.indexing import Indexing
from storage import registering
from storage.arrivals import Origin, StudyFacts
from storage.attributes import Attributes, Element, element
from storage.database import Database
from storage.domain import StoredInstance
from storage.holdings import search
from storage.holdings.question import HoldingsQuestion, Level
from storage.objects import ObjectStore
from tests.support.dicom import part10, put
from tests.support.senders import ct_image

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
_ORIGIN = Origin("MODALITY", None)


def image(study: str, number: int = 1, **attributes: object) -> Dataset:
    """Return a small image of a study, with attributes by keyword in the place of its own; UTF-8."""
    made = ct_image(study, number)
    made.SpecificCharacterSet = "ISO_IR 192"
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


def hold(
    database: Database,
    objects: ObjectStore,
    *images: Dataset,
    now: datetime = NOW,
    changed: Callable[[bytes], bytes] = bytes,
) -> list[StoredInstance]:
    """Store and register images as a gateway does, their bytes ``changed``; their headers are not read yet."""
    stored = [put(objects, changed(part10(one)), like=one) for one in images]
    with database.write() as session:
        for one, header in zip(stored, images, strict=True):
            facts = StudyFacts(
                patient_id=str(header.get("PatientID", "")),
                accession_number=str(header.get("AccessionNumber", ""))[:16],
                study_date=str(header.get("StudyDate", "")),
                study_description=str(header.get("StudyDescription", "")),
            )
            registering.register_instance(session, one, facts, origin=_ORIGIN, now=now)
    return stored


def hold_files(database: Database, objects: ObjectStore, files: Iterable[Path]) -> tuple[StoredInstance, ...]:
    """Store files byte for byte and put them on record."""
    stored = tuple(put(objects, path.read_bytes(), like=dcmread(path, stop_before_pixels=True)) for path in files)
    register(database, *stored)
    return stored


def register(database: Database, *stored: StoredInstance) -> None:
    """Put what is stored on record."""
    facts = StudyFacts("P-1", "ACC1", "20260301", "Head")
    with database.write() as session:
        for one in stored:
            registering.register_instance(session, one, facts, origin=_ORIGIN, now=NOW)


def read_headers(database: Database, objects: ObjectStore) -> None:
    """Read the headers of everything that is due."""
    indexing = Indexing(database, objects, waiting=lambda: 0)
    while indexing.read_due() is not None:
        pass


def tag(keyword: str) -> str:
    """Return the tag of a keyword as the JSON model writes it."""
    return f"{tag_for_keyword(keyword) or 0:08X}"


def keys(**wanted: object) -> Attributes:
    """Return keys by keyword; empty text is a key that matches anything, a list is one of several values."""
    return Attributes({tag(keyword): _key(keyword, value) for keyword, value in wanted.items()})


def found(database: Database, level: Level, *, limit: int | None = 100, offset: int = 0, **wanted: Any) -> search.Page:
    """Return a page of what is held at a level."""
    with database.read() as session:
        return search.search(session, HoldingsQuestion(level, keys(**wanted), limit=limit, offset=offset))


def said(page: search.Page, keyword: str) -> list[str]:
    """Return the first value of an attribute in each data set of a page."""
    return [data_set.value(tag(keyword)) for data_set in page.data_sets]


def _key(keyword: str, value: object) -> Element:
    vr = dictionary_VR(keyword)
    values = value if isinstance(value, list) else [value]
    if vr == "PN":
        values = [{"Alphabetic": one} for one in values if one]
    return element(vr, *values) if values != [""] else element(vr)
