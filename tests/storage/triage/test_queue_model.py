from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.domain import Priority
from storage.triage.queue_model import UNDECIDED, Reading, Told, load, summary, waits

ONE_READER = Reading(readers=1, minutes_per_study=10)
TEN_MINUTES = 600.0
STAT, HIGH, ROUTINE, LOW = (priority.rank for priority in Priority)


def at_once(*ranks: int) -> Told:
    """Return priorities that were known before anything came."""
    return Told([0.0] * len(ranks), ranks)


def test_the_most_urgent_that_waits_is_read_first_and_of_equals_the_one_that_came_first() -> None:
    arrived = [0.0, 10.0, 20.0, 30.0, 40.0]
    assert waits(arrived, at_once(ROUTINE, LOW, HIGH, STAT, HIGH), ONE_READER) == [
        0, 4 * TEN_MINUTES - 10, 2 * TEN_MINUTES - 20, TEN_MINUTES - 30, 3 * TEN_MINUTES - 40,
    ]  # fmt: skip # reads by its lines


def test_without_priorities_the_first_that_came_is_read_first_in_whatever_order_they_are_given() -> None:
    assert waits([20.0, 0.0, 10.0], None, ONE_READER) == [2 * TEN_MINUTES - 20, 0, TEN_MINUTES - 10]


def test_a_reading_is_not_broken_off_for_what_is_more_urgent() -> None:
    assert waits([0.0, 1.0], at_once(LOW, STAT), ONE_READER) == [0, TEN_MINUTES - 1]


def test_a_study_counts_as_routine_until_its_priority_is_known() -> None:
    arrived = [0.0, 1.0, 2.0]
    known_in_time, known_too_late = TEN_MINUTES - 1, TEN_MINUTES + 1
    in_time = waits(arrived, Told([0, 0, known_in_time], [ROUTINE, ROUTINE, STAT]), ONE_READER)
    too_late = waits(arrived, Told([0, 0, known_too_late], [ROUTINE, ROUTINE, STAT]), ONE_READER)
    assert in_time == [0, 2 * TEN_MINUTES - 1, TEN_MINUTES - 2]
    assert too_late == [0, TEN_MINUTES - 1, 2 * TEN_MINUTES - 2]


def test_a_low_study_falls_back_once_that_is_known_and_is_read_in_the_end() -> None:
    told = Told([0, 5, math.inf], [ROUTINE, LOW, UNDECIDED])
    assert waits([0.0, 1.0, 2.0], told, ONE_READER) == [0, 2 * TEN_MINUTES - 1, TEN_MINUTES - 2]


def test_nobody_waits_while_a_reader_is_free() -> None:
    assert waits([0.0, 0.0, 5.0], None, Reading(readers=2, minutes_per_study=10)) == [0, 0, TEN_MINUTES - 5]
    assert waits([0.0, 2 * TEN_MINUTES], None, ONE_READER) == [0, 0]


@given(
    st.lists(st.tuples(st.integers(0, 20_000), st.integers(0, 3_000), st.integers(0, 3)), max_size=60),
    st.integers(1, 4),
)
def test_priorities_move_waiting_from_one_study_to_another_and_make_no_more_or_less_of_it(
    studies: list[tuple[int, int, int]], readers: int
) -> None:
    arrived = [float(came) for came, _, _ in studies]
    told = Told([came + analysed for came, analysed, _ in studies], [rank for _, _, rank in studies])
    reading = Reading(readers, 10)
    by_priority, in_order = waits(arrived, told, reading), waits(arrived, None, reading)
    assert sum(by_priority) == pytest.approx(sum(in_order))
    assert all(wait >= 0 for wait in by_priority)
    begun = sorted(came + wait for came, wait in zip(arrived, by_priority, strict=True))
    at_once = (sum(start <= one < start + TEN_MINUTES for one in begun) for start in begun)
    assert max(at_once, default=0) <= readers


def test_waits_are_summed_up_as_what_half_and_95_percent_do_not_exceed() -> None:
    found = summary(60.0 * minute for minute in range(1, 101))
    assert (found.studies, found.median_minutes, found.percentile_95_minutes) == (100, 50, 95)
    assert (found.percentiles[0], found.percentiles[100]) == (1, 100)
    assert (summary([]).studies, summary([]).median_minutes, summary([]).percentiles) == (0, None, ())


def test_readers_are_as_busy_as_what_comes_keeps_them() -> None:
    an_hour = [0.0, 1800.0, 3600.0]
    assert load(an_hour, ONE_READER) == pytest.approx(0.5)
    assert load(an_hour, Reading(readers=1, minutes_per_study=40)) == pytest.approx(2)
    assert load([7.0], ONE_READER) is None
    assert load([], ONE_READER) is None
