"""Sources for a gateway that fetches, and how far a study on its way is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset

from storage.database import Database, utc_now
from storage.fetching import sources, studies
from storage.fetching.sources import FetchSource, FetchWay
from storage.fetching.studies import FetchedStudy
from storage.states import FetchState
from tests.support.gateways import until
from tests.support.peers import storescu
from tests.support.senders import ct_image


def fill(ae_title: str, port: int, folder: Path, *images: Dataset) -> None:
    """Put images into an archive."""
    paths = [folder / f"{image.SOPInstanceUID}.dcm" for image in images]
    for image, path in zip(images, paths, strict=True):
        image.save_as(path, enforce_file_format=True)
    sent = storescu(ae_title, port, *paths)
    assert sent.returncode == 0, sent.stdout


def images(count: int, **attributes: Any) -> list[Dataset]:
    """Return images of one study."""
    return [ct_image(number=number, **attributes) for number in range(count)]


def add_source(database: Database, address: str, way: FetchWay, **options: Any) -> None:
    """Record a source that is asked once a minute, and at once."""
    chosen = {"every_seconds": 60, "settle_seconds": 0, **options}
    with database.write() as session:
        sources.add(session, FetchSource("pacs", address, way, **chosen), actor="test", now=utc_now())


def listed(database: Database) -> list[FetchedStudy]:
    """Return the studies on their way."""
    with database.read() as session:
        return list(studies.listed(session))


def one(database: Database) -> FetchedStudy:
    """Return the only study on its way."""
    (found,) = listed(database)
    return found


def until_fetched(database: Database, count: int = 1) -> None:
    """Wait until so many studies have come."""
    until(
        lambda: [study.state for study in listed(database)].count(FetchState.FETCHED) == count,
        f"{count} studies fetched",
    )
