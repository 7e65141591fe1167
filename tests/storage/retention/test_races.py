"""Storing and deleting the same bytes at the same moment: a row that stands always has its file."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from storage.database import Database, utc_now
from storage.domain import StoredInstance
from storage.models import InstanceRow
from storage.objects import ObjectStore
from storage.registering import Registration
from storage.retention import discarding
from tests.support.retained import NO_ROUTE, Kept

_ROUNDS = 15


def test_an_image_that_comes_again_while_it_is_deleted_keeps_its_file(
    database: Database, objects: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discarding, "IN_USE", timedelta(seconds=20))
    kept = Kept(database, objects)
    arrived = utc_now() - timedelta(days=1)
    kept.study(routes=NO_ROUTE, images=1, now=arrived)
    image = kept.image(1)
    content = objects.get(image.digest)
    journal = _journal(objects)
    rule = {"name": "images", "delete": ["images"], "older_than_days": 0.5}
    for number in range(_ROUNDS):
        kept.age_all()
        journal.write_bytes(content)
        both = threading.Barrier(2)
        sender = threading.Thread(target=_receive, args=(kept, image, arrived, both))
        sender.start()
        both.wait()
        kept.retention(rule, now=utc_now(), owner=f"gateway-{number}").run(most_files=10)
        sender.join()
        with database.read() as session:
            stands = session.scalars(select(InstanceRow.deleted_at)).one() is None
        assert not stands or objects.path(image.digest).is_file()
        journal.unlink()
        objects.put(content)
        kept.receive(image, now=arrived)
        with database.read() as session:
            if session.scalars(select(InstanceRow.deleted_at)).one() is not None:
                pytest.fail("an image that came again is not on record")
        kept.close_if_open(1, routes=NO_ROUTE, now=arrived)


def test_an_image_whose_row_is_not_written_yet_keeps_its_file(database: Database, objects: ObjectStore) -> None:
    kept = Kept(database, objects)
    arrived = utc_now() - timedelta(days=1)
    kept.study(routes=NO_ROUTE, images=1, now=arrived)
    image = kept.image(1)
    _journal(objects).write_bytes(objects.get(image.digest))
    objects.link(_journal(objects), image.digest)  # and the database does not answer for a while
    rule = {"name": "images", "delete": ["images"], "older_than_days": 0.5}
    assert kept.retention(rule, now=utc_now()).run(most_files=10).freed.files == 0
    assert objects.path(image.digest).is_file()
    assert kept.receive(image, now=utc_now()) == (Registration.AGAIN,)
    kept.retention(rule, now=utc_now() + timedelta(hours=2)).run(most_files=10)
    assert objects.path(image.digest).is_file()


def _journal(objects: ObjectStore) -> Path:
    return objects.incoming / "00000001"


def _receive(kept: Kept, image: StoredInstance, arrived: datetime, both: threading.Barrier) -> None:
    """Do as a gateway does with an image of its journal."""
    both.wait()
    kept.objects.link(_journal(kept.objects), image.digest)
    kept.receive(image, now=arrived)
