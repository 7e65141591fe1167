"""Worklist and lists from the command line: pages, filters, marks."""

from __future__ import annotations

import pytest

from storage.domain import Priority
from tests.console.conftest import Place
from tests.support.commands import oncue
from tests.support.records import analysed_study, failed_study, queued_study


@pytest.mark.slow
def test_lists_go_on_where_the_last_page_ended(anywhere: Place) -> None:
    for number in range(1, 4):
        analysed_study(anywhere.database, anywhere.objects, number, confidence=number / 4)
    for command, key in (
        (("worklist",), "id"),
        (("studies", "list"), "study_instance_uid"),
        (("jobs", "list"), "id"),
        (("deliveries", "list"), "id"),
    ):
        whole = oncue(*command, "--state", anywhere.state, "--json").json
        first = oncue(*command, "--state", anywhere.state, "--limit", 2, "--json").json
        rest = oncue(*command, "--state", anywhere.state, "--after", first[-1]["cursor"], "--json").json
        assert [one[key] for one in first + rest] == [one[key] for one in whole]
        assert len(whole) > len(first) == 2
    table = oncue("worklist", "--state", anywhere.state, "--limit", 1).out
    assert "there may be more: --after 1~0.75~2026-03-01T12:00:00.000000Z~3" in table


@pytest.mark.slow
def test_what_is_no_cursor_ends_with_a_code(place: Place) -> None:
    for command in (("worklist",), ("studies", "list"), ("jobs", "list"), ("deliveries", "list")):
        ended = oncue(*command, "--state", place.state, "--after", "yesterday")
        assert (ended.code, ended.out) == (1, "")
        assert "error [cursor_invalid]" in ended.err
        assert "17" in ended.err


@pytest.mark.slow
def test_lists_are_narrowed_by_options(place: Place) -> None:
    analysed_study(place.database, place.objects, 1)
    analysed_study(place.database, place.objects, 2, priority=Priority.STAT)
    failed_study(place.database, 3)
    for options, found in (
        (("studies", "list", "--in", "failed"), ["2.25.1003"]),
        (("studies", "list", "--priority", "STAT"), ["2.25.1002"]),
        (("studies", "list", "--accession", "ACC1"), ["2.25.1001"]),
        (("studies", "list", "--since", "2026-03-02"), []),
        (("worklist", "--priority", "HIGH"), ["2.25.1001"]),
        (("worklist", "--patient", "PATIENT-4711", "--until", "2026-03-01T12:00:00"), ["2.25.1002", "2.25.1001"]),
        (("worklist", "--until", "2026-03-01"), []),
    ):
        listed = oncue(*options, "--state", place.state, "--json").json
        assert [one["study_instance_uid"] for one in listed] == found, options


@pytest.mark.slow
def test_a_study_that_was_read_is_off_the_worklist_until_that_is_taken_back(anywhere: Place) -> None:
    recorded = analysed_study(anywhere.database, anywhere.objects)
    queued_study(anywhere.database, 2)
    uid, at = recorded.study_instance_uid, ("--state", anywhere.state)
    assert "study 1 is marked as read" in oncue("studies", "read", uid, "--by", "Dr. Jones", *at).out
    assert oncue("worklist", *at, "--json").json == []
    (entry,) = oncue("worklist", "--all", *at, "--json").json
    assert (entry["unread"], entry["read_by"]) == (False, "Dr. Jones")
    (form,) = oncue("studies", "read", 1, "--undo", *at, "--json").json
    assert (form["unread"], form["read_at"]) == (True, None)
    assert len(oncue("worklist", *at, "--json").json) == 1
    refused = oncue("studies", "read", 2, *at)
    assert refused.code == 1
    assert "error [illegal_transition]: study 2 has no result yet" in refused.err


@pytest.mark.slow
def test_a_study_leaves_by_the_age_that_the_settings_say(place: Place) -> None:
    analysed_study(place.database, place.objects)
    (place.state / "oncue.toml").write_text("[console]\nworklist_hours = 24\n")
    assert "or all of it is read" in oncue("worklist", "--state", place.state).out
    assert len(oncue("worklist", "--all", "--state", place.state, "--json").json) == 1
