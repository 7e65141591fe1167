"""Who waits unseen and how long each step took, from the command line."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from storage.announcing import urgent_studies
from storage.announcing.tables import OpenedThrough
from storage.database import utc_now
from storage.domain import Priority
from tests.console.conftest import Place
from tests.support.commands import oncue
from tests.support.records import NOW, PATIENT, queued_study
from tests.support.urgent import analyse, waiting_channel


@pytest.mark.slow
def test_pending_lists_who_waits_and_fails_for_monitors(anywhere: Place) -> None:
    place = anywhere
    assert oncue("triage", "pending", "--state", place.state, "--fail-after", 0).code == 0
    waiting_channel(place.database, "on-call", 60)
    for number, (priority, minutes) in enumerate(((Priority.HIGH, 90), (Priority.STAT, 20)), start=1):
        at = utc_now() - timedelta(minutes=minutes)
        analyse(place.database, place.objects, queued_study(place.database, number).job_id, now=at, priority=priority)
    shown = oncue("triage", "pending", "--state", place.state)
    assert shown.code == 0
    assert shown.out.index("2.25.1002") < shown.out.index("2.25.1001")
    assert "on-call at" in shown.out
    assert PATIENT not in shown.out
    form = oncue("triage", "pending", "--state", place.state, "--json").json
    assert [(one["priority"], one["study_id"], one["announced_at"]) for one in form] == [
        ("STAT", 2, None), ("HIGH", 1, None),
    ]  # fmt: skip # reads by its lines
    for options, code in (
        (("--fail-after", 60), 1), (("--fail-after", 120), 0),
        (("--priority", "STAT", "--fail-after", 60), 0), (("--priority", "STAT", "--fail-after", 10), 1),
    ):  # fmt: skip # reads by its lines
        ended = oncue("triage", "pending", "--state", place.state, "--json", *options)
        assert ended.code == code
        assert ended.json, "a monitor gets the list, too"
    cut = oncue("triage", "pending", "--state", place.state, "--limit", 1).out
    assert "2 wait in all; --limit 2 shows them" in cut


def test_times_are_shown_by_group_with_a_figure(place: Place, tmp_path: Path) -> None:
    for number, seconds in ((1, 60), (2, 120)):
        job_id = queued_study(place.database, number).job_id
        analyse(place.database, place.objects, job_id, now=NOW + timedelta(seconds=seconds))
        with place.database.write() as session:
            at = NOW + timedelta(seconds=2 * seconds)
            urgent_studies.announced(session, number, channel="ris", priority=Priority.STAT, now=at)
    with place.database.write() as session:
        early = NOW - timedelta(seconds=5)
        urgent_studies.opened(session, 1, by="anna", through=OpenedThrough.MARK, now=early)
    table = oncue("triage", "times", "--state", place.state, "--since", "2026-03-01").out
    assert "1.5 min / 1.9 min (2)" in table
    assert "3 min / 3.9 min (2)" in table
    assert "1 moments are left out" in table
    plot = tmp_path / "times.svg"
    drawn = oncue(
        "triage", "times", "--state", place.state, "--since", "2026-03-01", "--by", "channel", "--json", "--plot", plot
    )
    assert [one["group"] for one in drawn.json["groups"]] == ["ris"]
    assert drawn.json["total"]["announced"]["median_seconds"] == 180
    assert ET.parse(plot).getroot().tag.endswith("svg")  # noqa: S314 - our own


def test_times_that_cannot_be_shown_end_with_a_reason(place: Place, tmp_path: Path) -> None:
    for options, said in (
        (("--by", "patient"), "'patient' is not one of route, day, channel, priority"),
        (("--plot", tmp_path / "times.png"), "the figure is one: FILE.svg"),
        (("--since", "yesterday"), "'yesterday' is no time: give a day (2026-03-01)"),
    ):
        ended = oncue("triage", "times", "--state", place.state, *options)
        assert (ended.code, ended.out) == (2, "")
        assert said in ended.err
    nothing = oncue("triage", "times", "--state", place.state, "--plot", tmp_path / "times.svg")
    assert nothing.code == 0
    assert "no study was urgent in that time" in nothing.out
    assert "no figure is written" in nothing.err
    assert not (tmp_path / "times.svg").exists()
    analyse(place.database, place.objects, queued_study(place.database).job_id, now=utc_now())
    unwritable = oncue("triage", "times", "--state", place.state, "--plot", tmp_path / "missing" / "times.svg")
    assert unwritable.code == 1
    assert "error [file_unusable]" in unwritable.err
