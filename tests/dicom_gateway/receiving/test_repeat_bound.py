from __future__ import annotations

from datetime import UTC, datetime, timedelta

from dicom_gateway.receiving.repeat_bound import RepeatBound

_NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_what_is_repeated_is_recorded_up_to_a_bound_and_the_rest_is_counted() -> None:
    bound = RepeatBound()
    first = [bound.add("CT1", "undecodable_object", now=_NOW) for _ in range(200)]
    assert first == [0] * 50 + [None] * 150
    assert bound.add("CT2", "undecodable_object", now=_NOW) == 0
    assert bound.add("CT1", "undecodable_object", now=_NOW + timedelta(minutes=11)) == 150
    assert bound.add("CT1", "undecodable_object", now=_NOW + timedelta(minutes=11)) == 0


def test_invented_subjects_share_one_bound() -> None:
    bound = RepeatBound()
    recorded = [bound.add(f"TITLE{number}", now=_NOW) for number in range(5000)]
    assert sum(each is not None for each in recorded) == 250
