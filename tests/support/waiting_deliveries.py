"""Objects that wait to be sent, as if they had been written of studies of some priority."""

from __future__ import annotations

import io
from datetime import datetime

import pydicom
from sqlalchemy import select

from storage import deliveries, registering
from storage.arrivals import Origin, StudyFacts
from storage.database import Database
from storage.domain import ObjectKind, Priority, StoredInstance
from storage.models import StandingRow, StudyRow
from storage.objects import ObjectStore
from storage.result_tables import ResultObjectRow
from tests.support.records import EXPLICIT, MR_IMAGE
from tests.support.senders import ct_image


def put_on_the_way(
    database: Database,
    study: int,
    images: list[tuple[str, str, str]],
    *,
    destination: str,
    priority: Priority | None,
    now: datetime,
) -> None:
    """Open the deliveries of some objects, (SOP instance, SOP class, digest), of a study to a destination."""
    uid = f"2.25.{study}"
    first = StoredInstance(uid, f"{uid}.1", f"{uid}.1.1", MR_IMAGE, EXPLICIT, "MR", "a" * 64, "a" * 64, 1)
    with database.write() as session:
        registering.register_instance(session, first, StudyFacts(), origin=Origin("SENDER", None), now=now)
        study_id = session.scalars(select(StudyRow.id).where(StudyRow.study_instance_uid == uid)).one()
        if priority is not None:
            session.get_one(StandingRow, study_id).rank = priority.rank
        for instance, sop_class, digest in images:
            item = ResultObjectRow(
                study_id=study_id,
                kind=ObjectKind.SC.value,
                sop_instance_uid=instance,
                sop_class_uid=sop_class,
                series_instance_uid=f"{uid}.2",
                transfer_syntax_uid=EXPLICIT,
                digest=digest,
                size_bytes=1,
                written_at=now,
            )
            session.add(item)
            session.flush()
            deliveries.open_deliveries(session, item, [destination], now=now)


def images_in(objects: ObjectStore, count: int, *, first: int = 0) -> list[tuple[str, str, str]]:
    """Keep so many small images and return the SOP instance, SOP class and digest of each."""
    found = []
    for number in range(first, first + count):
        image, content = ct_image(number=number, rows=16), io.BytesIO()
        pydicom.dcmwrite(content, image, enforce_file_format=True)
        found.append((str(image.SOPInstanceUID), str(image.SOPClassUID), objects.put(content.getvalue())))
    return found


def unkept_images(count: int, *, first: int = 0) -> list[tuple[str, str, str]]:
    """Return images that no object store holds, for what is never sent."""
    return [(f"2.25.99{number}", MR_IMAGE, f"{number:064x}") for number in range(first, first + count)]
