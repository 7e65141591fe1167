"""Which of a patient's studies are priors of the one that arrived."""

from __future__ import annotations

from dicom_gateway.fetching.priors import Arrived, chosen
from dicom_gateway.fetching.source_studies import SourceStudy

MR = frozenset({"MR"})
ARRIVED = Arrived("1.9", "20260301", MR)


def _uids(*studies: SourceStudy, most: int = 9, arrived: Arrived = ARRIVED) -> list[str]:
    return [study.study_instance_uid for study in chosen(studies, arrived, most=most)]


def test_the_latest_before_it_come_first() -> None:
    older, newer = SourceStudy("1.1", 3, "20240101", MR), SourceStudy("1.2", 3, "20250101", MR)
    assert _uids(older, newer) == ["1.2", "1.1"]
    assert _uids(older, newer, most=1) == ["1.2"]


def test_itself_later_ones_and_those_of_no_day_are_none() -> None:
    itself, same_day = SourceStudy("1.9", 3, "20250101", MR), SourceStudy("1.3", 3, "20260301", MR)
    later, undated = SourceStudy("1.4", 3, "20260302", MR), SourceStudy("1.5", 3, "", MR)
    assert _uids(itself, same_day, later, undated) == []


def test_other_modalities_are_none_and_unsaid_ones_may_be() -> None:
    ct, unsaid = SourceStudy("1.6", 3, "20250101", frozenset({"CT"})), SourceStudy("1.7", 3, "20250102")
    assert _uids(ct, unsaid) == ["1.7"]
    assert _uids(ct, arrived=Arrived("1.9", "", frozenset())) == ["1.6"]
