from __future__ import annotations

from datetime import UTC, datetime, timedelta

from dicom_gateway.receiving.admission import CALLED_AET_UNKNOWN, CALLING_AET_UNKNOWN, Caller
from dicom_gateway.receiving.refusal_count import EVENTS_PER_HOUR, MOST_WAITING, EventBudget, RefusalCount

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
EVIL = Caller("EVIL", "ONCUE", "10.6.6.6")


def test_attempts_of_one_caller_are_counted_together_with_the_latest_reason() -> None:
    count = RefusalCount()
    count.add(EVIL, CALLING_AET_UNKNOWN, now=NOW)
    count.add(EVIL, CALLED_AET_UNKNOWN, now=NOW + timedelta(seconds=1))
    (taken,) = count.take()
    assert (taken.count, taken.code, taken.last_at - taken.first_at) == (2, "called_aet_unknown", timedelta(seconds=1))
    assert count.take() == ()


def test_a_flood_of_titles_takes_no_more_memory_than_a_few() -> None:
    count = RefusalCount()
    for number in range(10 * MOST_WAITING):
        count.add(Caller(f"EVIL{number}", "ONCUE", "10.6.6.6"), CALLING_AET_UNKNOWN, now=NOW)
    count.add(Caller("EVIL1", "ONCUE", "10.6.6.6"), CALLING_AET_UNKNOWN, now=NOW)
    taken = count.take()
    assert (len(taken), sum(each.count for each in taken)) == (MOST_WAITING, MOST_WAITING + 1)


def test_what_could_not_be_recorded_is_counted_with_what_came_since() -> None:
    count = RefusalCount()
    count.add(EVIL, CALLING_AET_UNKNOWN, now=NOW)
    taken = count.take()
    count.add(EVIL, CALLED_AET_UNKNOWN, now=NOW + timedelta(seconds=5))
    count.give_back(taken)
    (both,) = count.take()
    assert (both.count, both.first_at, both.code) == (2, NOW, "called_aet_unknown")


def test_events_of_an_hour_are_few_and_what_goes_beyond_is_told_once() -> None:
    budget = EventBudget()
    assert budget.left(NOW) == EVENTS_PER_HOUR
    assert not budget.spend(EVENTS_PER_HOUR - 1)
    assert budget.left(NOW) == 1
    assert [budget.spend(5), budget.spend(5)] == [True, False]
    assert budget.left(NOW) == 0
    assert budget.left(NOW + timedelta(hours=1)) == EVENTS_PER_HOUR
