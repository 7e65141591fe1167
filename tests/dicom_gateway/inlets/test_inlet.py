from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian
from sqlalchemy import func, select

from dicom_gateway.errors import (
    GatewayError,
    InstanceTooLarge,
    ObjectMismatch,
    UndecodableObject,
    UnsupportedObject,
    UnsupportedTransferSyntax,
)
from dicom_gateway.inlets.inlet import Inlet
from storage import associations, audit, studies
from storage.database import Database, utc_now
from storage.domain import StoredInstance
from storage.models import InstanceRow, StudyRow
from storage.objects import ObjectStore
from tests.conftest import ROOT
from tests.support.gateways import half_received, running_gateway, until
from tests.support.part10 import VISITOR, part10, running_inlet
from tests.support.senders import ct_image, data_set_bytes, encoded, store

_EXECUTABLE = b"MZ\x90\x00" + b"\xcc" * 124
_TIFF = b"II*\x00" + b"\x08" * 124


def take(inlet: Inlet, content: bytes) -> None:
    with inlet.visit(VISITOR) as visit:
        visit.take(io.BytesIO(content))


def instances(database: Database) -> tuple[StoredInstance, ...]:
    with database.read() as session:
        ids = session.scalars(select(StudyRow.id)).all()
        return tuple(item for study_id in ids for item in studies.instances_of(session, study_id))


def test_a_taken_image_is_on_record_with_who_brought_it(database: Database, objects: ObjectStore) -> None:
    image = ct_image()
    with running_inlet(database, objects) as inlet, inlet.visit(VISITOR) as visit:
        taken = visit.take(io.BytesIO(part10(image)))
        assert inlet.drain(30)
        with database.read() as session:
            open_studies = session.scalars(select(StudyRow.id).where(associations.still_sending(utc_now()))).all()
    assert len(open_studies) == 1
    assert (taken.sop_instance_uid, taken.series_instance_uid) == (image.SOPInstanceUID, image.SeriesInstanceUID)
    (instance,) = instances(database)
    assert data_set_bytes(objects.get(instance.digest)) == encoded(image)
    with database.read() as session:
        (opened,) = audit.history(session, tag="association:opened")
        (closed,) = audit.history(session, tag="association:closed")
        assert session.scalars(select(StudyRow.id).where(associations.still_sending(utc_now()))).all() == []
    assert (opened.actor, closed.actor) == ("BROUGHT-BY", "BROUGHT-BY")
    assert "released" in closed.details


def test_the_same_image_by_both_ways_is_stored_once(sqlite_database: Database, objects: ObjectStore) -> None:
    image = ct_image()
    with running_gateway(sqlite_database, objects) as gateway, running_inlet(sqlite_database, objects) as inlet:
        store(gateway.port, image)
        take(inlet, part10(image))
        assert inlet.drain(30)
        gateway.gateway.drain(30)
    with sqlite_database.read() as session:
        assert session.scalar(select(func.count(InstanceRow.id))) == 1


@pytest.mark.parametrize("preamble", [_EXECUTABLE, _TIFF])
def test_a_preamble_that_another_program_would_run_or_show_is_not_kept(
    sqlite_database: Database, objects: ObjectStore, preamble: bytes
) -> None:
    with running_inlet(sqlite_database, objects) as inlet:
        take(inlet, part10(preamble=preamble))
        assert inlet.drain(30)
    (instance,) = instances(sqlite_database)
    assert objects.get(instance.digest)[:132] == bytes(128) + b"DICM"


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_other_encodings_are_kept_as_they_come(sqlite_database: Database, objects: ObjectStore, syntax: UID) -> None:
    content = part10(syntax=syntax)
    with running_inlet(sqlite_database, objects) as inlet:
        take(inlet, content)
        assert inlet.drain(30)
    (instance,) = instances(sqlite_database)
    assert instance.transfer_syntax_uid == syntax
    assert data_set_bytes(objects.get(instance.digest)) == data_set_bytes(content)


def _of_another_instance() -> bytes:
    uid = str(ct_image().SOPInstanceUID)
    other = uid[:-1] + ("1" if uid[-1] != "1" else "2")
    return part10().replace(uid.encode(), other.encode(), 1)


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", UndecodableObject),
        (b"\xff\xd8\xff" * 100, UndecodableObject),
        (part10()[:140], UndecodableObject),
        (part10()[128:], UndecodableObject),
        (part10()[:-300], UndecodableObject),
        (part10()[: part10().index(b"\x20\x00\x0d\x00UI")], UndecodableObject),
        (bytes(128) + b"DICM" + b"\x02\x00\x02\x01OB\x00\x00\xff\xff\xff\x7f" + bytes(70_000), UndecodableObject),
        (_of_another_instance(), ObjectMismatch),
        (part10(syntax=DeflatedExplicitVRLittleEndian), UnsupportedTransferSyntax),
        (part10().replace(b"1.2.840.10008.5.1.4.1.1.2\x00", b"1.2.840.10008.5.1.4.1.2.3\x00", 1), UnsupportedObject),
    ],
    ids=[
        "nothing",
        "a JPEG",
        "no data set",
        "no preamble",
        "cut off inside the pixels",
        "cut off before it says which study",
        "meta information without an end",
        "meta information of another instance",
        "deflated",
        "no storage",
    ],
)
def test_what_is_no_whole_image_is_refused_and_leaves_nothing(
    sqlite_database: Database, objects: ObjectStore, content: bytes, error: type[GatewayError]
) -> None:
    with running_inlet(sqlite_database, objects) as inlet:
        with pytest.raises(error):
            take(inlet, content)
        assert inlet.drain(30)
        assert half_received(objects) == []
    assert instances(sqlite_database) == ()
    with sqlite_database.read() as session:
        (refused,) = audit.history(session, tag="instance:refused")
    assert error.code in refused.details


def test_an_instance_of_another_study_than_asked_for_is_refused(
    sqlite_database: Database, objects: ObjectStore
) -> None:
    with (
        running_inlet(sqlite_database, objects) as inlet,
        inlet.visit(VISITOR) as visit,
        pytest.raises(ObjectMismatch),
    ):
        visit.take(io.BytesIO(part10()), study_instance_uid="2.25.7")
    assert instances(sqlite_database) == ()


def test_one_that_is_larger_than_any_may_be_is_refused(sqlite_database: Database, objects: ObjectStore) -> None:
    with running_inlet(sqlite_database, objects, maximum_instance_megabytes=1) as inlet:
        with pytest.raises(InstanceTooLarge):
            take(inlet, part10(ct_image(rows=1024)))
        take(inlet, part10(ct_image()))
    assert len(instances(sqlite_database)) == 1


@pytest.mark.slow
def test_every_image_taken_before_a_kill_is_there_after_it(
    tmp_path: Path, sqlite_database: Database, objects: ObjectStore
) -> None:
    taken: set[str] = set()
    for first in (1, 10_001):
        command = [sys.executable, "-m", "tests.support.inlet_process", str(tmp_path), str(first)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(30)]
            process.kill()
            lines += process.stdout.readlines()
        taken |= {line.split()[1] for line in lines if line.startswith("taken ") and line.endswith("\n")}
    assert len(taken) >= 40
    with running_gateway(sqlite_database, objects):
        until(lambda: half_received(objects) == [], "the registration of what the dead inlets left")
    found = {item.sop_instance_uid: item for item in instances(sqlite_database)}
    assert taken <= set(found)
    for item in found.values():
        objects.verify(item.digest)
