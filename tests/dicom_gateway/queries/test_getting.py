"""What oncue holds, retrieved by C-GET: by DCMTK and pynetdicom, and by peers that behave badly."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEG2000Lossless
from pynetdicom import AE

from dicom_gateway.data_sets import decode
from dicom_gateway.protocol.commands import CommandField
from dicom_gateway.queries import retrieval_service, selection
from tests.support.conversing_peer import (
    COMPLETED,
    FAILED,
    FIELD,
    MOVE_RQ,
    REMAINING,
    STATUS,
    STORE_RQ,
    ConversingPeer,
    role,
)
from tests.support.gateways import Running, until
from tests.support.peers import executable, run
from tests.support.retrieval import (
    CANCELED,
    FIRST,
    GET,
    MOVE,
    NONE_SENT,
    OTHERS,
    PACKED,
    PATIENT_GET,
    SECOND,
    SOME_FAILED,
    VIEWER,
    get,
    identifier_of,
    is_over,
    keys,
    last_message,
    move,
    retrieval_site,
    retrievals,
    study,
    uids,
)
from tests.support.senders import encoded

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Iterator[Running]:
    with retrieval_site(tmp_path_factory.mktemp("site"), sqlite_template) as running:
        yield running


@pytest.mark.parametrize(
    ("asked", "model", "expected"),
    [
        (keys("PATIENT", PatientID="PATIENT-17"), PATIENT_GET, FIRST + SECOND),
        (keys("STUDY", StudyInstanceUID=FIRST[0].StudyInstanceUID, PatientID="PATIENT-17"), PATIENT_GET, FIRST),
        (keys("STUDY", StudyInstanceUID=FIRST[0].StudyInstanceUID, PatientID="PATIENT-18"), PATIENT_GET, []),
        (keys("STUDY", StudyInstanceUID=[FIRST[0].StudyInstanceUID, OTHERS[0].StudyInstanceUID]), GET, FIRST + OTHERS),
        (study(SECOND), GET, SECOND),
        (
            keys(
                "SERIES",
                StudyInstanceUID=FIRST[0].StudyInstanceUID,
                SeriesInstanceUID=[FIRST[2].SeriesInstanceUID, FIRST[0].SeriesInstanceUID],
            ),
            GET,
            FIRST,
        ),
        (
            keys(
                "IMAGE",
                StudyInstanceUID=FIRST[0].StudyInstanceUID,
                SeriesInstanceUID=FIRST[0].SeriesInstanceUID,
                SOPInstanceUID=[FIRST[1].SOPInstanceUID, FIRST[2].SOPInstanceUID, "1.2.3"],
            ),
            GET,
            FIRST[1:2],
        ),
        (keys("STUDY", StudyInstanceUID="1.2.3"), GET, []),
    ],
    ids=[
        "patient", "study", "study of another patient", "studies", "study root", "series", "images", "nothing",
    ],
)  # fmt: skip # reads by its lines
def test_each_level_gives_what_it_names_and_nothing_else(
    site: Running, asked: Dataset, model: str, expected: list[Dataset]
) -> None:
    got = get(site, asked, model=model)
    assert (got.status, got.counts) == (0, (len(expected), 0, 0))
    assert uids(got.images) == uids(expected)
    assert "NumberOfRemainingSuboperations" not in got.last
    by_uid = {image.SOPInstanceUID: image for image in expected}
    for image in got.images:
        assert encoded(image) == encoded(by_uid[image.SOPInstanceUID])


@pytest.mark.parametrize(
    ("asked", "model"),
    [
        (keys("STUDY"), GET),
        (keys("PATIENT", PatientID="PATIENT-17"), GET),
        (keys("PATIENT"), PATIENT_GET),
        (keys("FRAME", StudyInstanceUID="1.2"), GET),
        (keys("SERIES", SeriesInstanceUID="1.2.3"), GET),
        (keys("SERIES", StudyInstanceUID=["1.2", "1.3"], SeriesInstanceUID="1.2.3"), GET),
        (keys("IMAGE", StudyInstanceUID="1.2", SOPInstanceUID="1.2.3"), GET),
    ],
    ids=[
        "no study", "patients of the study root", "no patient", "no level", "no study of a series",
        "two studies of a series", "no series of an image",
    ],
)  # fmt: skip # reads by its lines
def test_an_identifier_that_names_nothing_is_refused(site: Running, asked: Dataset, model: str) -> None:
    got = get(site, asked, model=model)
    assert (got.status, got.images) == (0xA900, [])
    assert move(site, asked, "NOBODY", model=model.removesuffix("3") + "2").status == 0xA900


def test_more_than_a_request_may_ask_for_is_refused(site: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "MOST_OBJECTS", 2)
    assert get(site, study(FIRST)).status == 0xA701


def test_who_got_objects_of_which_study_is_on_record_once_for_each_study(site: Running) -> None:
    before = len(retrievals(site))
    get(site, keys("PATIENT", PatientID="PATIENT-17"), model=PATIENT_GET)
    assert sorted(retrievals(site)[before:], key=str) == [
        {"destination": VIEWER, "objects": 1},
        {"destination": VIEWER, "objects": 3},
    ]
    get(site, keys("STUDY", StudyInstanceUID="1.2.3"))
    assert len(retrievals(site)) == before + 2


def test_what_the_peer_does_not_take_as_it_lies_is_written_anew_where_that_changes_no_pixel(site: Running) -> None:
    got = get(site, study(FIRST), syntax=ImplicitVRLittleEndian)
    assert (got.status, got.counts) == (0, (3, 0, 0))
    assert {image.PixelData for image in got.images} == {image.PixelData for image in FIRST}


def test_a_compressed_image_fails_where_the_peer_does_not_take_it_and_travels_where_it_does(site: Running) -> None:
    refused = get(site, study([PACKED]))
    assert (refused.status, refused.counts) == (NONE_SENT, (0, 1, 0))
    assert refused.identifier is not None
    assert refused.identifier.FailedSOPInstanceUIDList == PACKED.SOPInstanceUID
    taken = get(site, study([PACKED]), syntax=JPEG2000Lossless)
    assert (taken.status, taken.images[0].PixelData) == (0, PACKED.PixelData)


def test_what_the_peer_answers_is_counted_and_what_failed_is_named(site: Running) -> None:
    got = get(site, study(FIRST), statuses=(0xA700, 0xB000))
    assert (got.status, got.counts) == (SOME_FAILED, (1, 1, 1))
    assert got.identifier is not None
    assert got.identifier.FailedSOPInstanceUIDList == got.images[0].SOPInstanceUID


def test_a_peer_whose_entry_does_not_allow_it_is_offered_no_retrieval(site: Running) -> None:
    asking = AE(ae_title="CT1")
    for uid in retrieval_service.OPERATIONS:
        asking.add_requested_context(uid)
    opened = asking.associate("127.0.0.1", site.port, ae_title="ONCUE")
    assert not opened.is_established
    assert [context.result for context in opened.rejected_contexts] == [1] * 4


def test_dcmtk_gets_a_study(site: Running, tmp_path: Path) -> None:
    got = run(
        executable("getscu"), "-v", "-S", "-aet", VIEWER, "-aec", "ONCUE", "-od", tmp_path,
        "-k", "0008,0052=STUDY", "-k", f"0020,000d={FIRST[0].StudyInstanceUID}", "127.0.0.1", str(site.port),
    )  # fmt: skip # a command line
    assert got.returncode == 0, got.stdout
    images = [pydicom.dcmread(path) for path in tmp_path.iterdir()]
    assert {encoded(image) for image in images} == {encoded(image) for image in FIRST}


@contextlib.contextmanager
def viewing(site: Running) -> Iterator[ConversingPeer]:
    contexts = [(GET, ImplicitVRLittleEndian), (str(CTImageStorage), str(ExplicitVRLittleEndian))]
    with ConversingPeer(site.port, contexts, role(CTImageStorage, scu=0, scp=1), calling_aet=VIEWER) as peer:
        yield peer


def test_a_get_that_is_cancelled_says_what_was_done(site: Running) -> None:
    with viewing(site) as peer:
        peer.request(CommandField.C_GET_RQ, GET, identifier_of(FIRST))
        peer.answer(peer.read(), 0xA700)
        asked = peer.read()
        assert asked.number(FIELD) == STORE_RQ
        peer.cancel()
        peer.answer(asked)
        last = last_message(peer)
        assert (last.number(STATUS), last.number(COMPLETED), last.number(FAILED)) == (CANCELED, 1, 1)
        assert last.number(REMAINING) == 1
        failed = decode(last.data_set, ImplicitVRLittleEndian).values("00080058")
        assert len(failed) == 1
        assert peer.release()


@pytest.mark.parametrize("is_aborted", [True, False], ids=["a wrong message id", "closed in the middle"])
def test_a_peer_that_breaks_a_get_harms_nobody_else(site: Running, is_aborted: bool) -> None:
    with viewing(site) as peer:
        peer.request(CommandField.C_GET_RQ, GET, identifier_of(FIRST))
        asked = peer.read()
        if is_aborted:
            peer.answer(asked, responds_to=4711)
            assert peer.is_aborted()
    until(lambda: is_over("association"), "the end of the association")
    assert get(site, study(FIRST)).status == 0


def test_an_operation_of_another_class_is_refused(site: Running) -> None:
    with ConversingPeer(site.port, [GET, MOVE], calling_aet=VIEWER) as peer:
        peer.request(MOVE_RQ, GET, identifier_of(FIRST))
        assert peer.read().number(STATUS) == 0x0211
        peer.request(CommandField.C_GET_RQ, MOVE, identifier_of(FIRST))
        assert peer.read().number(STATUS) == 0x0122
        peer.request(CommandField.C_GET_RQ, GET)
        assert peer.read().number(STATUS) == 0xA900
        for identifier in (b"\7" * 50, identifier_of(FIRST, "1.2.*"), identifier_of(FIRST, "*")):
            peer.request(CommandField.C_GET_RQ, GET, identifier)
            assert peer.read().number(STATUS) == 0xA900
        peer.request(CommandField.C_GET_RQ, GET)
        assert peer.read().number(STATUS) == 0xA900
        peer.request(CommandField.C_GET_RQ, GET, bytes((1 << 20) + 2))
        assert peer.read().number(STATUS) == 0xA701
