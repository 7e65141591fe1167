from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.cursors import ArrivalPlace, ReadingPlace, number_place
from storage.errors import CursorInvalid

_TIMES = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis adds the zone
_NUMBERS = st.integers(0, 2**63 - 1)


@given(_TIMES, _NUMBERS)
def test_a_place_among_arrivals_is_read_as_it_was_written(moment: datetime, study_id: int) -> None:
    place = ArrivalPlace(moment, study_id)
    assert ArrivalPlace.read(str(place)) == place


@given(st.integers(0, 4), st.floats(0, 1), _TIMES, _NUMBERS)
def test_a_place_in_the_reading_order_is_read_as_it_was_written(
    rank: int, confidence: float, moment: datetime, study_id: int
) -> None:
    place = ReadingPlace(rank, confidence, moment, study_id)
    assert ReadingPlace.read(str(place)) == place


def test_a_time_of_another_zone_is_the_same_place() -> None:
    east = datetime(2026, 3, 1, 14, tzinfo=timezone(timedelta(hours=2)))
    assert str(ArrivalPlace(east, 17)) == "2026-03-01T12:00:00.000000Z~17"
    assert ArrivalPlace.read("2026-03-01T14:00:00+02:00~17") == ArrivalPlace(east, 17)


@pytest.mark.parametrize("read", [ArrivalPlace.read, ReadingPlace.read, number_place])
@pytest.mark.parametrize(
    "text",
    [
        "", "x", "~", "2026-03-01~x", "2026-03-01T12:00:00~17", "1~nan~2026-03-01T12:00:00Z~1", "-1", "²", "1e3",
        "9223372036854775808", "2026-03-01T12:00:00Z~99999999999999999999", "1~0.5~2026-03-01T12:00:00Z~1~2",
    ],
)  # fmt: skip # reads by its lines
def test_what_is_no_cursor_says_what_one_looks_like(read: Callable[[str], object], text: str) -> None:
    with pytest.raises(CursorInvalid, match=r"`cursor` of an entry of the same list: .*17"):
        read(text)
