from __future__ import annotations

import pytest

from console.access.attempts import MOST_WRONG, WINDOW_SECONDS, Attempts


def exhausted(address: str) -> Attempts:
    attempts = Attempts()
    for number in range(MOST_WRONG):
        assert attempts.seconds_to_wait(address, str(number), now=0) == 0
        attempts.note_wrong(address, str(number), now=0)
    return attempts


@pytest.mark.parametrize(
    ("first", "second", "shares"),
    [
        ("10.0.0.7", "10.0.0.7", True),
        ("10.0.0.7", "10.0.0.8", False),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("unknown", "unknown", True),
    ],
)
def test_a_network_that_tried_many_tokens_waits_and_others_do_not(first: str, second: str, *, shares: bool) -> None:
    attempts = exhausted(first)
    assert (attempts.seconds_to_wait(second, "new", now=20) == WINDOW_SECONDS - 20) is shares
    assert attempts.seconds_to_wait(second, "new", now=WINDOW_SECONDS) == 0


def test_a_program_with_an_old_token_keeps_nobody_out() -> None:
    attempts = Attempts()
    for _ in range(10 * MOST_WRONG):
        attempts.note_wrong("10.0.0.7", "old", now=0)
    assert attempts.seconds_to_wait("10.0.0.7", "new", now=0) == 0


def test_a_token_that_was_right_is_looked_at_though_others_of_its_network_were_wrong() -> None:
    attempts = exhausted("10.0.0.7")
    attempts.note_right("good")
    assert attempts.seconds_to_wait("10.0.0.7", "good", now=1) == 0
    attempts.note_wrong("10.0.0.7", "good", now=WINDOW_SECONDS)
    assert attempts.seconds_to_wait("10.0.0.7", "other", now=WINDOW_SECONDS) == 0


def test_addresses_without_number_are_kept_in_bounded_memory() -> None:
    attempts = Attempts()
    for number in range(5000):
        attempts.note_wrong(f"10.{number >> 8}.{number & 255}.1", "x", now=0)
        attempts.note_right(str(number))
    assert len(attempts._windows) == len(attempts._known) == 1024
