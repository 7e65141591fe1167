"""Asking sources by C-FIND: Orthanc, DCMTK, and peers that lie."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from dicom_gateway.asking.counts import WHOLE_STUDY, SeriesCount, images
from dicom_gateway.asking.find import count_by_find
from dicom_gateway.destinations import Destination
from dicom_gateway.errors import GatewayError, SourceAnswerInvalid, SourceSilent, SourceTooSlow, StudyUnknownToSource
from storage.uids import deterministic_uid
from tests.support.find_scp import find_scp, raw_find_scp, series_answer
from tests.support.peers import dcmtk_archive, free_port, orthanc, storescu
from tests.support.senders import ct_image

STUDY = deterministic_uid("test-study", "study")
SERIES = deterministic_uid("test-series", "study")
PENDING, SUCCESS = 0xFF00, 0x0000
ENDLESS_SECONDS = 2.0


def _count(source: Destination, study: str = STUDY, *, seconds: float = 20.0) -> object:
    return count_by_find(source, study, calling_aet="ONCUE", seconds=seconds)


def _files(folder: Path, *, images_of_study: int) -> list[Path]:
    paths = []
    for number in range(1, images_of_study + 1):
        path = folder / f"{number}.dcm"
        ct_image(number=number).save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


@pytest.mark.slow
def test_orthanc_says_how_many_images_it_holds_of_each_series(tmp_path: Path) -> None:
    with orthanc(tmp_path, DicomAlwaysAllowFind=True, DicomAlwaysAllowStore=True) as peer:
        source = Destination(peer.ae_title, "127.0.0.1", peer.port)
        with pytest.raises(StudyUnknownToSource):
            _count(source)
        sent = storescu(peer.ae_title, peer.port, *_files(tmp_path, images_of_study=3))
        assert sent.returncode == 0, sent.stdout
        assert _count(source) == {SERIES: SeriesCount("CT", 3)}


@pytest.mark.slow
def test_the_archive_of_dcmtk_leaves_numbers_out_and_has_its_images_counted(tmp_path: Path) -> None:
    with dcmtk_archive(tmp_path) as peer:
        sent = storescu(peer.ae_title, peer.port, *_files(tmp_path, images_of_study=3))
        assert sent.returncode == 0, sent.stdout
        found = _count(Destination(peer.ae_title, "127.0.0.1", peer.port))
    assert found == {SERIES: SeriesCount("CT", 3)}


def test_a_source_that_knows_no_series_level_is_asked_for_the_whole_study() -> None:
    def answers(query: Dataset) -> Iterator[tuple[int, Dataset | None]]:
        if query.QueryRetrieveLevel != "STUDY":
            yield 0xA900, None
            return
        answer = Dataset()
        answer.StudyInstanceUID = query.StudyInstanceUID
        answer.NumberOfStudyRelatedInstances = 12
        yield PENDING, answer

    with find_scp(answers) as source:
        assert _count(source) == {WHOLE_STUDY: SeriesCount("", 12)}


@pytest.mark.parametrize("claimed", ["-3", "many", "99999999999999999999", "1\\2"])
def test_a_number_that_is_none_is_no_answer(claimed: str) -> None:
    def answers(query: Dataset) -> Iterator[tuple[int, Dataset | None]]:
        yield PENDING, series_answer(query, 1, instances=claimed)

    with find_scp(answers) as source, pytest.raises(SourceAnswerInvalid):
        _count(source)


def test_an_answer_about_another_study_is_none() -> None:
    def answers(query: Dataset) -> Iterator[tuple[int, Dataset | None]]:
        query.StudyInstanceUID = "1.2.3.4.5"
        yield PENDING, series_answer(query, 1, instances=4)

    with find_scp(answers) as source, pytest.raises(SourceAnswerInvalid, match="another study"):
        _count(source)


NESTED = b"\x08\x00\x15\x11SQ\0\0" + b"\xff" * 4 + b"\xfe\xff\x00\xe0" + b"\xff" * 4


@pytest.mark.parametrize(
    "identifier",
    [
        pytest.param(NESTED * 2_000, id="sequences-in-sequences"),
        pytest.param(NESTED, id="an-item-without-an-end"),
        pytest.param(b"\x20\x00\x09\x12US\x03\x00abc", id="a-number-of-three-bytes"),
        pytest.param(b"\x20\x00\x0d\x00UI\x40\x00" + b"1.2", id="a-value-that-is-cut-off"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_an_identifier_that_cannot_be_read_is_no_answer(identifier: bytes) -> None:
    with raw_find_scp(identifier) as source, pytest.raises(SourceAnswerInvalid):
        _count(source)


def test_answers_without_an_end_are_cut() -> None:
    def answers(query: Dataset) -> Iterator[tuple[int, Dataset | None]]:
        for number in itertools.count():
            yield PENDING, series_answer(query, number, instances=1)

    with find_scp(answers) as source, pytest.raises((SourceAnswerInvalid, SourceTooSlow)):
        _count(source, seconds=ENDLESS_SECONDS)


def test_a_source_that_drips_its_answers_is_cut_when_its_time_is_over() -> None:
    ended = threading.Event()

    def answers(query: Dataset) -> Iterator[tuple[int, Dataset | None]]:
        for number in itertools.count():
            if ended.wait(0.2):
                return
            yield PENDING, series_answer(query, number % 3, instances=1)

    with find_scp(answers) as source:
        with pytest.raises(SourceTooSlow):
            _count(source, seconds=1.0)
        ended.set()


def test_a_source_that_says_nothing_is_too_slow() -> None:
    ended = threading.Event()

    def answers(_: Dataset) -> Iterator[tuple[int, Dataset | None]]:
        ended.wait(30)
        yield SUCCESS, None

    with find_scp(answers) as source:
        with pytest.raises(GatewayError) as caught:
            _count(source, seconds=1.0)
        ended.set()
    assert caught.value.code in {"source_too_slow", "source_unreachable"}


def test_a_source_that_is_not_there_is_unreachable() -> None:
    with pytest.raises(SourceSilent):
        _count(Destination("SOURCE", "127.0.0.1", free_port()))


def test_reports_and_what_oncue_wrote_itself_are_not_waited_for() -> None:
    found = {
        "1.1": SeriesCount("CT", 40),
        "1.2": SeriesCount("SR", 1),
        "1.3": SeriesCount("SEG", 1),
        "1.4": SeriesCount("CT", 7),
    }
    assert images([found], without=frozenset({"1.4"})) == 40
    assert images([found, {"1.1": SeriesCount("CT", 44)}], without=frozenset()) == 51
    assert images([{WHOLE_STUDY: SeriesCount("", 60)}, found], without=frozenset()) == 60
