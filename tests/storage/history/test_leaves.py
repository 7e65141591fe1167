from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from storage.history.leaves import FIELDS, leaf_data, leaves_data

VALUES = st.one_of(
    st.none(),
    st.integers(),
    st.text(st.characters(exclude_categories=["Cs"])),
    st.sampled_from(["]\n[", '"]', "\\n", ","]),
)
EVENTS = st.lists(st.lists(VALUES, min_size=len(FIELDS), max_size=len(FIELDS)).map(tuple), max_size=5)


@given(EVENTS)
def test_events_encoded_at_once_have_the_bytes_that_each_has_alone(events: list[tuple[str | int | None, ...]]) -> None:
    assert leaves_data(events) == [leaf_data(event) for event in events]
    assert [json.loads(data) for data in leaves_data(events)] == [list(event) for event in events]
