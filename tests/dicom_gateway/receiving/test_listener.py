from __future__ import annotations

import hashlib
import json
import struct
import threading
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
)
from pynetdicom.presentation import build_context
from sqlalchemy import text

from dicom_gateway.status import Status
from storage.database import Database
from storage.models import StudyRow
from storage.objects import ObjectStore
from tests.support.gateways import running_gateway, until
from tests.support.peers import executable, run, storescu
from tests.support.senders import (
    RawSender,
    association,
    ct_image,
    data_set_bytes,
    encoded,
    store,
)

pytestmark = pytest.mark.slow


def test_an_acknowledged_image_is_in_the_database_and_in_the_object_store(
    database: Database, objects: ObjectStore
) -> None:
    image = ct_image()
    with running_gateway(database, objects) as running:
        assert store(running.port, image) == [Status.SUCCESS]
        (instance,) = running.instances()
    file = objects.get(instance.digest)
    assert instance.sop_instance_uid == image.SOPInstanceUID
    assert instance.study_instance_uid == image.StudyInstanceUID
    assert data_set_bytes(file) == encoded(image)
    assert instance.content_sha256 == instance.digest == hashlib.sha256(file).hexdigest()
    assert file[:132] == bytes(128) + b"DICM"
    assert instance.size_bytes == len(file)


def test_what_the_worklist_shows_is_decoded_and_cut_to_size(sqlite_database: Database, objects: ObjectStore) -> None:
    image = ct_image()
    image.SpecificCharacterSet = "ISO_IR 192"
    image.StudyDescription = "Schädel\x00 nativ " + "x" * 80
    image.StudyDate = "yesterday"
    content = encoded(image)
    with running_gateway(sqlite_database, objects) as running, RawSender(running.port) as sender:
        assert sender.store(image.SOPInstanceUID, content) == Status.SUCCESS
    with sqlite_database.read() as session:
        study = session.query(StudyRow).one()
        assert study.patient_id == "PATIENT-17"
        assert study.study_description.startswith("Schädel nativ xx")
        assert len(study.study_description) == 64
        assert study.study_date == ""


@pytest.mark.parametrize(
    ("character_set", "name", "shown", "note"),
    [
        (b"ISO_IR 999", "Müller^Jörg".encode("latin-1"), "Sch\ufffddel", "character_set_unknown"),
        (b"ISO_IR 192", "Müller^Jörg".encode("latin-1"), "Sch\ufffddel", "character_set_contradicted"),
        (rb"\ISO 2022 IR 87", "山田^太郎".encode("shift_jis"), "Sch\ufffddel", "character_set_contradicted"),
        (b"ISO_IR 100", "Müller^Jörg".encode("latin-1"), "Schädel", None),
    ],
)
def test_an_image_is_kept_whatever_its_text_is(
    sqlite_database: Database, objects: ObjectStore, character_set: bytes, *, name: bytes, shown: str, note: str | None
) -> None:
    image = ct_image()
    image.SpecificCharacterSet, image.PatientName, image.StudyDescription = "ISO_IR 100", "N" * 20, "D" * 8
    even = character_set + b" " * (len(character_set) % 2)
    content = (
        encoded(image)
        .replace(b"\x0a\x00ISO_IR 100", struct.pack("<H", len(even)) + even)
        .replace(b"N" * 20, name.ljust(20))
        .replace(b"D" * 8, "Schädel".encode("latin-1").ljust(8))
    )
    with running_gateway(sqlite_database, objects) as running, RawSender(running.port) as sender:
        assert sender.store(image.SOPInstanceUID, content) == Status.SUCCESS
        (event,) = running.events("instance:stored")
        (instance,) = running.instances()
    assert json.loads(event).get("text") == note
    assert data_set_bytes(objects.get(instance.digest)) == content
    with sqlite_database.read() as session:
        assert session.query(StudyRow).one().study_description == shown


def test_a_resent_image_is_acknowledged_and_stored_once(database: Database, objects: ObjectStore) -> None:
    with running_gateway(database, objects) as running:
        assert store(running.port, ct_image(), ct_image()) == [Status.SUCCESS] * 2
        assert store(running.port, ct_image()) == [Status.SUCCESS]
        assert len(running.instances()) == 1
        assert len(running.events("instance:stored")) == 1


def test_the_same_uid_with_other_content_replaces_what_is_current_and_keeps_both(
    database: Database, objects: ObjectStore
) -> None:
    with running_gateway(database, objects) as running:
        assert store(running.port, ct_image(value=1), ct_image(value=2)) == [Status.SUCCESS] * 2
        (current,) = running.instances()
        assert data_set_bytes(objects.get(current.digest)) == encoded(ct_image(value=2))
        assert len(running.events("instance:changed")) == 1
    assert len([path for path in objects.root.glob("??/*") if path.is_file()]) == 2


def test_two_associations_at_once_lose_nothing(database: Database, objects: ObjectStore) -> None:
    answers: dict[str, list[int]] = {}

    def send(study: str) -> None:
        answers[study] = store(running.port, *(ct_image(study, number) for number in range(20)))

    with running_gateway(database, objects) as running:
        threads = [threading.Thread(target=send, args=(name,)) for name in ("left", "right")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert answers == {"left": [Status.SUCCESS] * 20, "right": [Status.SUCCESS] * 20}
        assert len(running.instances()) == 40


@pytest.mark.peer
def test_storescu_delivers_the_real_ct_series(sqlite_database: Database, objects: ObjectStore, real_data: Path) -> None:
    folder = real_data / "dicom" / "ct-chest-100-slices"
    with running_gateway(sqlite_database, objects) as running:
        result = storescu("ONCUE", running.port, folder)
        assert result.returncode == 0, result.stdout
        assert len(running.instances()) == 100


def _real_files(folder: Path) -> dict[tuple[str, str], list[tuple[str, bytes]]]:
    """Return instance UID and data set of every DICOM file, by SOP class and transfer syntax."""
    found: dict[tuple[str, str], list[tuple[str, bytes]]] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        try:
            meta = pydicom.dcmread(path, specific_tags=["SOPInstanceUID"], stop_before_pixels=True).file_meta
        except pydicom.errors.InvalidDicomError:
            continue
        pair = (str(meta.MediaStorageSOPClassUID), str(meta.TransferSyntaxUID))
        data_set = data_set_bytes(path.read_bytes())
        found.setdefault(pair, []).append((str(meta.MediaStorageSOPInstanceUID), data_set))
    return found


def test_every_real_file_is_stored_byte_for_byte_or_its_transfer_syntax_is_refused(
    sqlite_database: Database, objects: ObjectStore, real_data: Path
) -> None:
    refused: set[str] = set()
    sent: dict[str, set[str]] = {}
    with running_gateway(sqlite_database, objects) as running:
        for (sop_class, syntax), files in _real_files(real_data / "dicom").items():
            with association(running.port, [build_context(sop_class, syntax)]) as opened:
                if not opened.accepted_contexts:
                    refused.add(syntax)
                    continue
            with RawSender(running.port, transfer_syntax_uid=syntax, sop_class_uid=sop_class) as sender:
                for uid, data_set in files:
                    assert sender.store(uid, data_set, sop_class_uid=sop_class) == Status.SUCCESS
                    sent.setdefault(uid, set()).add(hashlib.sha256(data_set).hexdigest())
        kept = {item.sop_instance_uid: item for item in running.instances()}
    assert refused == {DeflatedExplicitVRLittleEndian}
    assert set(sent) == set(kept)
    assert len(sent) > 250
    for uid, item in kept.items():
        assert hashlib.sha256(data_set_bytes(objects.get(item.digest))).hexdigest() in sent[uid]


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, JPEG2000Lossless])
def test_common_transfer_syntaxes_are_accepted(sqlite_database: Database, objects: ObjectStore, syntax: str) -> None:
    with (
        running_gateway(sqlite_database, objects) as running,
        association(running.port, [build_context(CTImageStorage, syntax)]) as opened,
    ):
        assert [context.transfer_syntax[0] for context in opened.accepted_contexts] == [syntax]


@pytest.mark.parametrize(
    ("sop_class", "syntax"),
    [(CTImageStorage, DeflatedExplicitVRLittleEndian), ("1.3.12.2.1107.5.9.1", ImplicitVRLittleEndian)],
    ids=["deflated", "private SOP class"],
)
def test_deflated_and_unknown_sop_classes_are_not_accepted(
    sqlite_database: Database, objects: ObjectStore, sop_class: str, syntax: str
) -> None:
    with (
        running_gateway(sqlite_database, objects) as running,
        association(running.port, [build_context(sop_class, syntax), build_context("1.2.840.10008.1.1")]) as opened,
    ):
        assert [context.abstract_syntax for context in opened.accepted_contexts] == ["1.2.840.10008.1.1"]


def _without(keyword: str) -> bytes:
    image = ct_image()
    delattr(image, keyword)
    return encoded(image)


def _with(keyword: str, value: str) -> bytes:
    image = ct_image()
    return encoded(image).replace(
        str(image[keyword].value).encode(), value.ljust(len(str(image[keyword].value))).encode()
    )


_UID = str(ct_image().SOPInstanceUID)
_WHOLE = encoded(ct_image())


@pytest.mark.parametrize(
    ("uid", "content", "status"),
    [
        (_UID, encoded(ct_image(number=2)), 0xA900),
        (_UID, _with("SOPClassUID", "1.2.840.10008.5.1.4.1.1.4"), 0xA900),
        (_UID, _without("StudyInstanceUID"), 0xC000),
        (_UID, _without("SeriesInstanceUID"), 0xC000),
        (_UID, _without("SOPInstanceUID"), 0xC000),
        (_UID, _with("StudyInstanceUID", "../../../etc/passwd"), 0xC000),
        (_UID, _with("SeriesInstanceUID", "Doe^John"), 0xC000),
        (_UID, _WHOLE[:-100], 0xC000),
        (_UID, _WHOLE[:300], 0xC000),
        (_UID, _WHOLE[: _WHOLE.index(b"PATIENT-17")], 0xC000),
        (_UID, b"", 0xC000),
        (_UID, b"\x00" * 3, 0xC000),
        (_UID, bytes(range(256)) * 40, 0xC000),
        (_UID, b"\x08\x00\x15\x11SQ\0\0\xff\xff\xff\xff" * 5000, 0xC000),
        ("../../../../tmp/evil", _WHOLE, 0xC000),
        ("1.2.3/4", _WHOLE, 0xC000),
        ("1." + "2" * 70, _WHOLE, 0xC000),
        ("", _WHOLE, 0xC000),
        ("Doe^John", _WHOLE, 0xC000),
    ],
    ids=[
        "other instance", "other class", "no study", "no series", "no instance", "path as study", "name as series",
        "cut in the pixels", "cut in the header", "cut in a value", "empty", "three bytes", "noise",
        "nested without end", "path as instance", "slash", "too long", "empty uid", "name as instance",
    ],
)  # fmt: skip # reads by its lines
def test_a_bad_image_is_refused_with_its_status_and_the_next_one_is_taken(
    sqlite_database: Database, objects: ObjectStore, uid: str, content: bytes, status: int
) -> None:
    with running_gateway(sqlite_database, objects) as running, RawSender(running.port) as sender:
        assert sender.store(uid, content) == status
        (refusal,) = running.events("instance:refused")
        assert f'"status":"0x{status:04X}"' in refusal
        assert sender.store(_UID, _WHOLE) == Status.SUCCESS
        assert len(running.instances()) == 1
    assert [path for path in objects.incoming.rglob("*") if path.is_file()] == []


def test_a_refused_uid_that_is_none_is_not_written_into_the_records(
    sqlite_database: Database, objects: ObjectStore
) -> None:
    with running_gateway(sqlite_database, objects) as running, RawSender(running.port) as sender:
        sender.store("Doe^John", _WHOLE)
        assert running.gateway.drain(30)
        with sqlite_database.read() as session:
            assert session.execute(text("SELECT count(*) FROM audit_events WHERE subject LIKE '%Doe%'")).scalar() == 0


def test_a_class_that_was_not_negotiated_is_refused_as_unsupported(
    sqlite_database: Database, objects: ObjectStore
) -> None:
    with running_gateway(sqlite_database, objects) as running, RawSender(running.port) as sender:
        assert sender.store(_UID, _WHOLE, sop_class_uid="1.2.3.4") == Status.SOP_CLASS_NOT_SUPPORTED


def test_an_image_of_many_megabytes_is_stored_byte_for_byte(sqlite_database: Database, objects: ObjectStore) -> None:
    image = ct_image(rows=1300, value=7)
    with running_gateway(sqlite_database, objects) as running:
        assert store(running.port, image) == [Status.SUCCESS]
        (instance,) = running.instances()
    assert data_set_bytes(objects.get(instance.digest)) == encoded(image)
    assert objects.path(instance.digest).read_bytes() == objects.get(instance.digest)


def test_images_are_acknowledged_while_the_database_is_locked(sqlite_database: Database, objects: ObjectStore) -> None:
    images = [ct_image(number=number) for number in range(5)]
    with running_gateway(sqlite_database, objects) as running:
        with sqlite_database.write():
            assert store(running.port, *images) == [Status.SUCCESS] * 5
        assert len(running.instances()) == 5


def test_a_full_disk_answers_out_of_resources_and_keeps_nothing(
    sqlite_database: Database, objects: ObjectStore
) -> None:
    full = replace(objects, reserve_bytes=1 << 60)
    with running_gateway(sqlite_database, full) as running:
        assert store(running.port, ct_image()) == [Status.OUT_OF_RESOURCES]
        assert running.instances() == ()
        assert '"code":"storage_full"' in running.events("instance:refused")[0]


def test_an_instance_above_the_limit_is_refused_and_the_association_goes_on(
    sqlite_database: Database, objects: ObjectStore
) -> None:
    with running_gateway(sqlite_database, objects, maximum_instance_megabytes=1) as running:
        large, small = ct_image(number=1, rows=1024), ct_image(number=2)
        assert store(running.port, large, small) == [Status.OUT_OF_RESOURCES, Status.SUCCESS]
    assert [path for path in objects.incoming.rglob("*") if path.is_file()] == []


def test_an_image_that_comes_while_the_database_is_broken_is_on_record_when_it_works_again(
    database: Database, objects: ObjectStore
) -> None:
    with running_gateway(database, objects) as running:
        _rename(database, "instances", "instances_away")
        assert store(running.port, ct_image()) == [Status.SUCCESS]
        _rename(database, "instances_away", "instances")
        until(lambda: len(running.instances()) == 1, "the image on record")
        assert len(running.events("association:opened")) == len(running.events("association:closed")) == 1


def test_more_than_may_wait_for_the_database_is_refused_and_can_be_sent_again(
    database: Database, objects: ObjectStore
) -> None:
    with running_gateway(database, objects, maximum_unrecorded_images=2) as running:
        _rename(database, "instances", "instances_away")
        images = [ct_image(number=number) for number in range(3)]
        assert store(running.port, *images) == [Status.SUCCESS, Status.SUCCESS, Status.OUT_OF_RESOURCES]
        _rename(database, "instances_away", "instances")
        until(lambda: len(running.instances()) == 2, "those that were acknowledged on record")
        assert store(running.port, images[2]) == [Status.SUCCESS]
        assert len(running.instances()) == 3
        assert '"code":"out_of_resources"' in running.events("instance:refused")[0]


def test_a_database_that_cannot_record_an_association_does_not_stop_its_images(
    database: Database, objects: ObjectStore
) -> None:
    with running_gateway(database, objects) as running:
        _rename(database, "associations", "associations_away")
        with association(running.port) as opened:
            assert opened.is_established
            assert opened.send_c_echo().Status == Status.SUCCESS
            assert opened.send_c_store(ct_image()).Status == Status.SUCCESS
            assert running.events("association:opened") == []
            _rename(database, "associations_away", "associations")
            assert opened.send_c_store(ct_image(number=2)).Status == Status.SUCCESS
        until(lambda: len(running.instances()) == 2, "both images on record")
        assert len(running.events("association:opened")) == 1


def _rename(database: Database, old: str, new: str) -> None:
    with database.write() as session:
        session.execute(text(f"ALTER TABLE {old} RENAME TO {new}"))


@pytest.mark.peer
def test_dcmsend_delivers_a_file_of_each_of_sixteen_transfer_syntaxes(
    sqlite_database: Database, objects: ObjectStore, real_data: Path
) -> None:
    folder = real_data / "dicom" / "one-ct-sixteen-transfer-syntaxes"
    with running_gateway(sqlite_database, objects) as running:
        result = run(executable("dcmsend"), "-v", "+sd", "-aec", "ONCUE", "127.0.0.1", str(running.port), folder)
        assert result.returncode == 0, result.stdout
        assert "with status SUCCESS  : 21" in result.stdout
