"""WADO-RS as dicomweb-client and curl use it: instances, metadata, frames and large values of real files."""

from __future__ import annotations

import io
import shutil
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
import pytest
import requests
from dicomweb_client.api import DICOMwebClient

from console.app import create_app
from console.config import ConsoleSettings
from storage import audit, receipts
from storage.database import Database, connect
from storage.domain import StoredInstance
from storage.models import InstanceRow
from storage.objects import ObjectStore
from tests.support.dicom import SeriesPlan, part10, put, series
from tests.support.held import NOW, hold, hold_files, register
from tests.support.served_console import serving

_SYNTAXES = "one-image-seven-transfer-syntaxes"
_SEGMENTED = "data__segmentations__23x38x3__*.dcm"
_FRAGMENTED = "testImages__CT0012.fragmented_no_bot_jpeg_baseline.51.dcm"
_EXTENDED = "1.2.840.10008.1.2.4.51"
_EXPLICIT = "1.2.840.10008.1.2.1"
_PARTS = 'multipart/related; type="{}"; transfer-syntax={}'


@dataclass(frozen=True)
class Served:
    """A console, the files that it holds, and who asks it."""

    address: str
    database: Database
    objects: ObjectStore
    stored: tuple[StoredInstance, ...]

    @property
    def client(self) -> DICOMwebClient:
        return DICOMwebClient(f"{self.address}/dicom-web")

    def get(self, path: str, accept: str = "*/*", **headers: str) -> requests.Response:
        return requests.get(f"{self.address}/dicom-web{path}", headers={"Accept": accept, **headers}, timeout=30)

    def named(self, syntax: str) -> StoredInstance:
        return next(one for one in self.stored if one.transfer_syntax_uid == syntax)


@pytest.fixture(scope="module")
def folder(real_data: Path) -> Path:
    return real_data / "dicom"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path, folder: Path) -> Iterator[Served]:
    state = tmp_path_factory.mktemp("held")
    shutil.copy(sqlite_template, state / "oncue.sqlite")
    database, objects = connect(f"sqlite:///{state / 'oncue.sqlite'}"), ObjectStore(state / "objects")
    objects.prepare()
    files = [*sorted((folder / _SYNTAXES).glob("*.dcm")), *sorted(folder.glob(f"*/{_SEGMENTED}"))]
    files += [next(folder.glob(f"*/{_FRAGMENTED}"))]
    stored = hold_files(database, objects, files)
    with serving(create_app(database, objects, ConsoleSettings())) as address:
        yield Served(address, database, objects, stored)
    database.dispose()


def path_of(one: StoredInstance) -> str:
    return f"/studies/{one.study_instance_uid}/series/{one.series_instance_uid}/instances/{one.sop_instance_uid}"


def uids(one: StoredInstance) -> tuple[str, str, str]:
    return one.study_instance_uid, one.series_instance_uid, one.sop_instance_uid


def pixels_of(served: Served, one: StoredInstance) -> np.ndarray:
    return pydicom.dcmread(served.objects.path(one.digest)).pixel_array


def test_a_client_gets_a_whole_study_and_what_it_names_no_syntax_for_in_explicit_little_endian(served: Served) -> None:
    study = served.named(_EXPLICIT).study_instance_uid
    got = served.client.retrieve_study(study)
    expected = [one for one in served.stored if one.study_instance_uid == study]
    assert {one.SOPInstanceUID for one in got} == {one.sop_instance_uid for one in expected}
    assert {one.file_meta.TransferSyntaxUID for one in got} == {_EXPLICIT}
    by_uid = {one.SOPInstanceUID: one for one in got}
    for one in expected:
        np.testing.assert_array_equal(by_uid[one.sop_instance_uid].pixel_array, pixels_of(served, one))


def test_any_syntax_gives_files_byte_for_byte_as_they_were_received(served: Served) -> None:
    for one in served.stored:
        answer = served.get(path_of(one), "application/dicom; transfer-syntax=*")
        assert answer.status_code == 200
        assert answer.headers["Content-Type"] == f"application/dicom; transfer-syntax={one.transfer_syntax_uid}"
        assert answer.content == served.objects.get(one.digest)
        assert int(answer.headers["Content-Length"]) == len(answer.content)


def test_a_series_says_its_length_before_and_each_part_its_syntax(served: Served) -> None:
    one = served.named("1.2.840.10008.1.2.4.90")
    path = f"/studies/{one.study_instance_uid}/series/{one.series_instance_uid}"
    answer = served.get(path, _PARTS.format("application/dicom", "*"))
    assert int(answer.headers["Content-Length"]) == len(answer.content)
    assert b"\r\nContent-Type: application/dicom; transfer-syntax=1.2.840.10008.1.2.4.90\r\n\r\n" in answer.content
    assert answer.content.endswith(b"--\r\n")


def test_a_syntax_that_nothing_is_stored_in_is_refused_with_what_there_is(served: Served) -> None:
    one = served.named(_EXPLICIT)
    for wanted in ("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.2"):
        answer = served.get(path_of(one), _PARTS.format("application/dicom", wanted))
        assert (answer.status_code, answer.json()["code"]) == (406, "not_acceptable")
        assert _EXPLICIT in answer.json()["message"]
    assert served.get(path_of(one), "text/html").status_code == 406
    series = path_of(one).rpartition("/instances")[0]
    assert served.get(series, "application/dicom").status_code == 406


def test_what_can_be_given_of_a_study_comes_as_a_part_of_it_that_says_so(served: Served) -> None:
    study = served.named(_EXPLICIT).study_instance_uid
    answer = served.get(f"/studies/{study}", _PARTS.format("application/dicom", "1.2.840.10008.1.2.5"))
    assert answer.status_code == 206
    assert answer.headers["Warning"].startswith("299 oncue: 8 instances")


def test_a_receipt_in_the_preamble_does_not_go_out(served: Served) -> None:
    one = served.named(_EXPLICIT)
    path = served.objects.path(one.digest)
    whole = path.read_bytes()
    receipt = receipts.Receipt(one.digest, len(whole), bytes(16), "MODALITY", None, receipts._LANES[0], NOW)
    path.write_bytes(receipts.preamble(receipt) + whole[receipts.PREAMBLE_BYTES :])
    try:
        assert served.get(path_of(one), "application/dicom; transfer-syntax=*").content == whole
    finally:
        path.write_bytes(whole)


def test_a_file_that_was_changed_on_disk_breaks_the_answer_off(served: Served) -> None:
    one = served.named("1.2.840.10008.1.2.5")
    path = served.objects.path(one.digest)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + b"\xff")
    try:
        with pytest.raises((requests.exceptions.ChunkedEncodingError, requests.exceptions.ConnectionError)):
            served.get(path_of(one), "application/dicom; transfer-syntax=*")
    finally:
        path.write_bytes(whole)


def test_unknown_uids_and_gone_files_are_told_apart(served: Served) -> None:
    one = served.named(_EXPLICIT)
    for path in (
        "/studies/1.2.3",
        f"/studies/{one.study_instance_uid}/series/1.2.3/metadata",
        f"/studies/{one.study_instance_uid}/series/1.2.3/instances/{one.sop_instance_uid}",
    ):
        answer = served.get(path)
        assert (answer.status_code, answer.json()["code"]) == (404, "record_missing")
    (slice_,) = hold(served.database, served.objects, *series(SeriesPlan(study="gone", shape=(1, 16, 20))))
    served.objects.path(slice_.digest).unlink()
    assert served.get(path_of(slice_)).json()["code"] == "object_missing"
    with served.database.write() as session:
        row = session.query(InstanceRow).filter_by(sop_instance_uid=slice_.sop_instance_uid).one()
        row.deleted_at = NOW
    answer = served.get(path_of(slice_))
    assert (answer.status_code, answer.json()["code"]) == (410, "object_deleted")


def test_what_is_left_of_a_study_comes_with_a_warning(served: Served) -> None:
    lost, kept = hold(served.database, served.objects, *series(SeriesPlan(study="half", shape=(2, 16, 20))))
    served.objects.path(lost.digest).unlink()
    answer = served.get(f"/studies/{kept.study_instance_uid}/metadata")
    assert (answer.status_code, len(answer.json())) == (206, 1)
    assert answer.headers["Warning"].startswith("299 oncue: 1 instances")


def test_metadata_are_those_of_the_file_with_addresses_of_large_values(served: Served) -> None:
    for one in served.stored:
        (got,) = served.get(f"{path_of(one)}/metadata").json()
        header = pydicom.dcmread(served.objects.path(one.digest))
        assert got["00080018"]["Value"] == [one.sop_instance_uid]
        assert set(got) == {f"{tag:08X}" for tag in header._dict if tag <= 0x7FE00010}
        place = f"{served.address}/dicom-web{path_of(one)}/bulkdata/7FE00010"
        assert got["7FE00010"]["BulkDataURI"] == place
        dataset = pydicom.Dataset.from_json(got, bulk_data_uri_handler=lambda _: b"")
        assert (dataset.PatientID, dataset.Rows) == (header.PatientID, header.Rows)


def test_a_file_that_cannot_be_read_does_not_keep_the_metadata_of_others_back(served: Served) -> None:
    whole, broken = series(SeriesPlan(study="broken", shape=(2, 16, 20)))
    hold(served.database, served.objects, whole)
    register(served.database, put(served.objects, part10(broken)[:300], like=broken))
    got = served.get(f"/studies/{whole.StudyInstanceUID}/metadata").json()
    assert {one["00080018"]["Value"][0] for one in got} == {whole.SOPInstanceUID, broken.SOPInstanceUID}


def test_a_client_gets_metadata_of_every_level(served: Served) -> None:
    one = served.named(_EXPLICIT)
    study, series_uid, instance = uids(one)
    assert len(served.client.retrieve_study_metadata(study)) == 9
    assert served.client.retrieve_series_metadata(study, series_uid)[0]["00080018"]["Value"] == [instance]
    assert served.client.retrieve_instance_metadata(study, series_uid, instance)["00100020"]["vr"] == "LO"


def test_frames_come_decoded_where_no_syntax_is_named(served: Served) -> None:
    for one in served.stored:
        (frame,) = served.client.retrieve_instance_frames(*uids(one), [1])
        if one.modality == "SEG" or one.transfer_syntax_uid == _EXTENDED:
            continue  # of segmentations another test is; pydicom reads no JPEG of 12 bits that it could be held against
        wanted = pixels_of(served, one)
        first = wanted if wanted.ndim == 2 else wanted[0]
        assert frame == first.astype(first.dtype.newbyteorder("<")).tobytes()
    extended = served.named(_EXTENDED)
    frames = served.client.retrieve_instance_frames(*uids(extended), [2, 1])
    assert [len(frame) for frame in frames] == [512 * 512 * 2] * 2
    assert np.frombuffer(frames[0], "<u2").max() > 255


def test_frames_come_as_codestreams_in_their_own_media_type(served: Served) -> None:
    for syntax, media_type in (
        ("1.2.840.10008.1.2.4.90", "image/jp2"),
        ("1.2.840.10008.1.2.4.80", "image/jls"),
        ("1.2.840.10008.1.2.4.70", "image/jpeg"),
        ("1.2.840.10008.1.2.4.51", "image/jpeg"),
    ):
        one = served.named(syntax)
        (frame,) = served.client.retrieve_instance_frames(*uids(one), [1], media_types=((media_type, syntax),))
        encoded = pydicom.dcmread(served.objects.path(one.digest))
        (expected, *_) = pydicom.encaps.generate_frames(
            encoded.PixelData, number_of_frames=int(encoded.get("NumberOfFrames") or 1)
        )
        assert frame == expected
        answer = served.get(
            f"{path_of(one)}/frames/1", 'multipart/related; type="application/octet-stream"; transfer-syntax=*'
        )
        assert f"transfer-syntax={syntax}".encode() in answer.content


def test_frames_of_a_segmentation_are_found_between_the_bits(served: Served) -> None:
    one = next(one for one in served.stored if one.modality == "SEG")
    wanted = pixels_of(served, one)
    for number, frame in enumerate(served.client.retrieve_instance_frames(*uids(one), [1, 2, 3])):
        bits = np.unpackbits(np.frombuffer(frame, np.uint8), bitorder="little")[: wanted[number].size]
        np.testing.assert_array_equal(bits.reshape(wanted[number].shape), wanted[number])


@pytest.mark.parametrize(
    ("frames", "status", "code"),
    [
        ("0", 400, "frames_invalid"),
        ("2", 400, "frames_invalid"),
        ("1,x", 400, "frames_invalid"),
        ("99999999", 400, "frames_invalid"),
    ],
)
def test_a_list_of_frames_that_is_none_is_refused(served: Served, frames: str, status: int, code: str) -> None:
    answer = served.get(f"{path_of(served.named(_EXPLICIT))}/frames/{frames}")
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def two_frames(study: str, **attributes: object) -> pydicom.Dataset:
    """Return an image whose two codestreams lie in a fragment each, the second one 72 bytes behind the first."""
    (image,) = series(SeriesPlan(study=study, shape=(1, 16, 20)))
    image.file_meta.TransferSyntaxUID = pydicom.uid.JPEG2000Lossless
    image.NumberOfFrames = 2
    image.PixelData = pydicom.encaps.encapsulate([b"\xff\x4f\xff\x51" + bytes([number]) * 60 for number in (1, 2)])
    image["PixelData"].VR, image["PixelData"].is_undefined_length = "OB", True
    for keyword, value in attributes.items():
        setattr(image, keyword, value)
    return image


@pytest.mark.parametrize(
    "table",
    [bytes(12), bytes(8), struct.pack("<3Q", 0, 72, 144), struct.pack("<2Q", 0, 5), struct.pack("<2Q", 72, 0),
     struct.pack("<2Q", 0, 2**64 - 1)],
    ids=["no whole numbers", "too short", "too long", "inside a fragment", "backwards", "behind the end"],
)  # fmt: skip # reads by its lines
def test_frames_of_a_file_whose_offset_table_is_none_are_refused_and_the_file_is_not(
    served: Served, table: bytes
) -> None:
    lengths = struct.pack("<2Q", 64, 64)
    image = two_frames(f"table-{table.hex()}", ExtendedOffsetTable=table, ExtendedOffsetTableLengths=lengths)
    (one,) = hold(served.database, served.objects, image)
    for place in ("frames/2", "bulkdata/7FE00010"):
        answer = served.get(f"{path_of(one)}/{place}", _PARTS.format("application/octet-stream", "*"))
        assert (answer.status_code, answer.json()["code"]) == (406, "not_acceptable")
        assert "Extended Offset Table" in answer.json()["message"]
        assert "take the whole instance" in answer.json()["message"]
    whole = served.get(path_of(one), "application/dicom; transfer-syntax=*")
    assert (whole.status_code, whole.content) == (200, served.objects.get(one.digest))


def test_frames_are_found_by_their_extended_offset_table(served: Served) -> None:
    table, lengths = struct.pack("<2Q", 0, 72), struct.pack("<2Q", 64, 64)
    image = two_frames("sound-table", ExtendedOffsetTable=table, ExtendedOffsetTableLengths=lengths)
    (one,) = hold(served.database, served.objects, image)
    answer = served.get(f"{path_of(one)}/frames/2", "application/octet-stream; transfer-syntax=*")
    assert answer.content == b"\xff\x4f\xff\x51" + b"\2" * 60


def test_a_large_value_of_a_file_that_cannot_be_read_is_refused(served: Served) -> None:
    (image,) = series(SeriesPlan(study="unreadable", shape=(1, 16, 20)))
    one = put(served.objects, b"no DICOM file at all" * 20, like=image)
    register(served.database, one)
    answer = served.get(f"{path_of(one)}/bulkdata/7FE00010")
    assert (answer.status_code, answer.json()["code"]) == (406, "not_acceptable")


def test_large_values_are_what_the_file_holds(served: Served) -> None:
    one = served.named(_EXPLICIT)
    (place,) = [served.get(f"{path_of(one)}/metadata").json()[0]["7FE00010"]["BulkDataURI"]]
    (value,) = served.client.retrieve_bulkdata(place)
    assert value == pydicom.dcmread(served.objects.path(one.digest)).PixelData
    part = requests.get(place, headers={"Accept": "application/octet-stream"}, timeout=30)
    assert part.content == value
    encoded = served.named("1.2.840.10008.1.2.4.90")
    answer = served.get(f"{path_of(encoded)}/bulkdata/7FE00010", "multipart/related; type=image/jp2")
    assert b"Content-Type: image/jp2; transfer-syntax=1.2.840.10008.1.2.4.90" in answer.content
    assert served.get(f"{path_of(one)}/bulkdata/00090010").status_code == 404
    assert served.get(f"{path_of(one)}/bulkdata/etc").status_code == 422


def test_a_large_value_in_an_item_has_an_address_of_its_own(served: Served) -> None:
    (image,) = series(SeriesPlan(study="nested", shape=(1, 16, 20)))
    item = pydicom.Dataset()
    item.LUTDescriptor, item.LUTData = [1024, 0, 16], bytes(range(256)) * 8
    item["LUTData"].VR = "OW"
    image.ModalityLUTSequence = pydicom.Sequence([item])
    (one,) = hold(served.database, served.objects, image)
    (got,) = served.get(f"{path_of(one)}/metadata").json()
    place = got["00283000"]["Value"][0]["00283006"]["BulkDataURI"]
    assert place.endswith("/bulkdata/00283000/1/00283006")
    assert requests.get(place, headers={"Accept": "application/octet-stream"}, timeout=30).content == item.LUTData


def test_head_says_what_a_get_would(served: Served) -> None:
    one = served.named(_EXPLICIT)
    answer = requests.head(
        f"{served.address}/dicom-web{path_of(one)}", headers={"Accept": "application/dicom"}, timeout=30
    )
    assert (answer.status_code, answer.content) == (200, b"")
    assert int(answer.headers["Content-Length"]) == one.size_bytes


def test_a_reader_is_on_record_once_a_visit_however_many_frames_were_asked_for(served: Served) -> None:
    (one,) = hold(served.database, served.objects, *series(SeriesPlan(study="read", shape=(1, 16, 20))))
    for _ in range(3):
        served.get(f"{path_of(one)}/frames/1")
        served.get(f"{path_of(one)}/metadata")
    with served.database.read() as session:
        events = [event for event in audit.history(session, limit=1000) if event.study == one.study_instance_uid]
    read = [(event.tag, event.actor) for event in events if event.tag.endswith(":read")]
    assert sorted(read) == [("headers:read", "web/127.0.0.1"), ("images:read", "web/127.0.0.1")]


def test_readers_without_a_token_learn_nothing_where_one_is_asked_for(served: Served) -> None:
    app = create_app(served.database, served.objects, ConsoleSettings(read_with_token=True))
    with serving(app) as address:
        known = requests.get(f"{address}/dicom-web{path_of(served.stored[0])}", timeout=30)
        unknown = requests.get(f"{address}/dicom-web/studies/1.2.3", timeout=30)
    assert (known.status_code, known.json()) == (401, unknown.json())


def test_a_whole_file_alone_can_be_read_as_one(served: Served) -> None:
    one = served.named("1.2.840.10008.1.2")
    answer = served.get(path_of(one), "application/dicom")
    dataset = pydicom.dcmread(io.BytesIO(answer.content))
    assert (dataset.file_meta.TransferSyntaxUID, dataset.SOPInstanceUID) == (_EXPLICIT, one.sop_instance_uid)
