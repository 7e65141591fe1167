"""Files that are sent as their data sets say, whatever lies around them."""

from __future__ import annotations

import io
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import UID

from dicom_gateway.destinations import Destination
from dicom_gateway.errors import NothingToSend
from dicom_gateway.sending.folders import find_outgoing, send_folder
from dicom_gateway.status import PeerAnswer
from storage.objects import ObjectStore
from tests.support.peers import orthanc
from tests.support.senders import ct_image
from tests.support.sources import LAYOUTS, store_study
from tests.support.storage_scp import scp

pytestmark = pytest.mark.slow


def _write_variants(objects: ObjectStore, folder: Path) -> set[str]:
    """Write images whose file meta information is another's, or missing, and return the UIDs of their data sets."""
    folder.mkdir()
    frames = store_study(LAYOUTS[0], objects).frames
    uids = set()
    for index, frame in enumerate(frames):
        dataset = pydicom.dcmread(objects.path(frame.digest))
        path = folder / f"{index}.dcm"
        uids.add(str(dataset.SOPInstanceUID))
        if index % 3 == 0:
            dataset.file_meta.MediaStorageSOPInstanceUID = UID(f"1.2.3.{index}")
            pydicom.dcmwrite(path, dataset)
            continue
        content = io.BytesIO()
        pydicom.dcmwrite(content, dataset)
        meta_length = 132 + 12 + dataset.file_meta.FileMetaInformationGroupLength
        path.write_bytes(content.getvalue()[132 if index % 3 == 1 else meta_length :])
    return uids


@pytest.mark.peer
def test_files_with_another_file_meta_information_or_none_are_sent_as_their_data_sets(
    objects: ObjectStore, tmp_path: Path
) -> None:
    uids = _write_variants(objects, tmp_path / "study")
    with orthanc(tmp_path) as peer:
        outcome = send_folder(tmp_path / "study", Destination(peer.ae_title, "127.0.0.1", peer.port))
        assert {(sent.verdict, sent.reason) for sent in outcome.outcomes} == {(PeerAnswer.STORED, "")}
        assert peer.sop_instance_uids() == tuple(sorted(uids))
    assert outcome.skipped == 0
    assert {sent.sop_instance_uid for sent in outcome.outcomes} == uids


def test_a_failure_names_the_file_and_says_what_the_status_means(objects: ObjectStore, tmp_path: Path) -> None:
    _write_variants(objects, tmp_path / "study")
    with scp(("1.2.840.10008.5.1.4.1.1.4",), statuses=(0xA900,)) as (port, received):
        outcome = send_folder(tmp_path / "study", Destination("SCP", "127.0.0.1", port))
    refused = outcome.outcomes[0]
    assert refused.file == str(tmp_path / "study" / "0.dcm")
    assert "0xA900: the data set does not match" in refused.reason
    assert len(received) == len(outcome.outcomes)


@pytest.mark.peer
def test_a_folder_is_sent_whole_and_what_is_not_dicom_is_counted(objects: ObjectStore, tmp_path: Path) -> None:
    study = store_study(LAYOUTS[0], objects)
    folder = tmp_path / "study"
    (folder / "deep").mkdir(parents=True)
    for index, frame in enumerate(study.frames):
        name = folder / "deep" / f"{index}.dcm" if index % 2 else folder / f"{index}"
        name.write_bytes(objects.get(frame.digest))
    (folder / "readme.txt").write_text("not an image")
    (folder / "empty").write_bytes(b"")
    (folder / "broken.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\x02\x00\x10")
    progress: list[tuple[int, int]] = []
    with orthanc(tmp_path) as peer:
        outcome = send_folder(
            folder, Destination(peer.ae_title, "127.0.0.1", peer.port), lambda *step: progress.append(step)
        )
        assert len(peer.sop_instance_uids()) == len(study.frames)
    assert outcome.skipped == 3
    assert {sent.verdict for sent in outcome.outcomes} == {PeerAnswer.STORED}
    assert progress == [(done, len(study.frames)) for done in range(len(study.frames) + 1)]


def test_a_folder_without_dicom_files_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(NothingToSend, match="no DICOM file"):
        send_folder(tmp_path, Destination("PACS", "127.0.0.1", 104))


@pytest.mark.parametrize("depth", [1, 2_000])
def test_a_file_that_no_parser_gets_through_keeps_no_other_from_being_sent(tmp_path: Path, depth: int) -> None:
    head = bytes(128) + b"DICM" + b"\x02\x00\x10\x00UI\x14\x001.2.840.10008.1.2.1\0"
    nested = b"\x08\x00\x06\x00SQ\0\0" + b"\xff" * 4 + b"\xfe\xff\x00\xe0" + b"\xff" * 4
    (tmp_path / "broken.dcm").write_bytes(head + nested * depth)
    ct_image().save_as(tmp_path / "image.dcm", enforce_file_format=True)
    found, skipped = find_outgoing(tmp_path)
    assert [outgoing.path.name for outgoing in found] == ["image.dcm"]
    assert skipped == 1
