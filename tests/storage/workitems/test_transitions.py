"""The state machine is the one of PS3.4 Table CC.1.1-2, cell by cell."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime

import pytest

from storage.workitems import requirements, transitions
from storage.workitems.refusals import Refusal, Remark, WorkitemRefused
from storage.workitems.tables import WorkitemState

_STATES = tuple(WorkitemState)
_TABLE = {
    "IN PROGRESS": ("IN PROGRESS", 0xC302, 0xC300, 0xC300),
    "COMPLETED": (0xC310, "COMPLETED", 0xC300, 0xB306),
    "CANCELED": (0xC310, "CANCELED", 0xB304, 0xC300),
    "SCHEDULED": (0xC303, 0xC303, 0xC303, 0xC303),
}
"""By the state that is asked for, what it leads to from SCHEDULED, IN PROGRESS, CANCELED and COMPLETED."""


def _outcome(wanted: WorkitemState, current: WorkitemState, *, is_correct: bool = True) -> str | int:
    try:
        reached = transitions.asked(wanted, current, is_correct=is_correct)
    except WorkitemRefused as error:
        return int(error.refusal)
    return int(reached) if isinstance(reached, Remark) else reached.value


@pytest.mark.parametrize("wanted", _STATES)
def test_each_cell_with_the_correct_transaction_uid(wanted: WorkitemState) -> None:
    assert tuple(_outcome(wanted, current) for current in _STATES) == _TABLE[wanted.value]


def test_without_the_correct_transaction_uid_nothing_moves() -> None:
    wanted = [state for state in _STATES if state is not WorkitemState.SCHEDULED]
    outcomes = {_outcome(state, current, is_correct=False) for state, current in itertools.product(wanted, _STATES)}
    assert outcomes == {int(Refusal.TRANSACTION_UID_NOT_CORRECT)}


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026", datetime(2026, 1, 1, tzinfo=UTC)),
        ("20260301143000.5+0100", datetime(2026, 3, 1, 13, 30, 0, 500_000, tzinfo=UTC)),
        ("20260301143060-0530", datetime(2026, 3, 1, 20, 0, 59, tzinfo=UTC)),
    ],
)
def test_a_start_is_the_moment_that_its_text_says(text: str, moment: datetime) -> None:
    assert requirements.moment(text) == moment


@pytest.mark.parametrize("text", ["tomorrow", "20261301", "20260301+9999", "2026-03-01", "99991231235959-1200"])
def test_a_start_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(WorkitemRefused):
        requirements.moment(text)
