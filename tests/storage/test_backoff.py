from __future__ import annotations

from storage.backoff import Backoff, no_jitter


def test_pauses_double_up_to_the_longest_however_often_something_failed() -> None:
    backoff = Backoff(5.0, 60.0)
    pauses = [backoff.pause(failures, draw=no_jitter).total_seconds() for failures in (1, 2, 3, 4, 5, 10_000)]
    assert pauses == [5, 10, 20, 40, 60, 60]


def test_up_to_a_half_of_a_pause_is_taken_off_at_random() -> None:
    draws = iter([0.0, 0.5, 0.999])
    pauses = [Backoff(8.0, 60.0).pause(1, draw=lambda: next(draws)).total_seconds() for _ in range(3)]
    assert pauses == [8.0, 6.0, 4.004]
