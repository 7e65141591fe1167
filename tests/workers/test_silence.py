"""Warnings of libraries may quote patients: two threads that read at once must not show each other's."""

from __future__ import annotations

import warnings

import pytest

from workers.silence import no_warnings


def test_the_first_block_to_end_does_not_let_the_others_warnings_through() -> None:
    first, second = no_warnings(), no_warnings()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        warnings.warn("Smith^John", stacklevel=1)
        second.__exit__(None, None, None)
        with pytest.raises(UserWarning):
            warnings.warn("shown again", stacklevel=1)
