from __future__ import annotations

from datetime import UTC, datetime, timedelta

from dicom_gateway.receiving.echo_count import EVERY, EchoCount, Echoes

_NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def test_a_day_of_health_checks_is_one_count() -> None:
    count = EchoCount()
    due = [count.add("MONITOR", now=_NOW + timedelta(seconds=5 * step)) for step in range(17281)]
    assert due[:-1] == [None] * 17280
    assert due[-1] == Echoes(17281, 1, _NOW)
    assert count.take() is None


def test_what_was_counted_is_taken_before_its_time_when_the_listener_stops() -> None:
    count = EchoCount()
    for title in ("A", "B", "A"):
        assert count.add(title, now=_NOW) is None
    assert count.take() == Echoes(3, 2, _NOW)
    assert count.add("A", now=_NOW + EVERY) is None
