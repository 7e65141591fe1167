from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from storage import audit
from storage.audit import ConcernedStudy
from storage.database import Database
from storage.history.sentences import told
from storage.history.timeline import spoken, timeline

NOW = datetime(2026, 3, 1, 23, 59, 50, tzinfo=UTC)
STUDY = ConcernedStudy("1.2", "a" * 32)


def write(database: Database, tag: str, subject: str, seconds: float, *, actor: str = "MR", **details: object) -> None:
    with database.write() as session:
        at = NOW + timedelta(seconds=seconds)
        said = {name: str(value) for name, value in details.items()}
        audit.record(session, tag, subject, actor=actor, now=at, details=said, study=STUDY)


def test_a_study_is_told_by_days_with_what_took_how_long(database: Database) -> None:
    write(database, "study:opened", "study/1.2", 0, lane="stat")
    for number in range(3):
        write(database, "instance:stored", f"instance/1.2.{number}", number)
    write(database, "study:closed", "study/1.2", 75, instances=3, revision=1, actor="assembly")
    write(database, "job:claimed", "job/7", 80, actor="worker-1", attempt=1)
    write(database, "job:failed", "job/7", 80.5, actor="worker-1", code="no_usable_series")
    write(database, "thing:made-up", "thing/1", 90, actor="x")
    with database.read() as session:
        found = timeline(session, "1.2")
        assert timeline(session, "1.3").days == ()
    assert found.is_complete
    assert [(day.day, [(step.sentence, step.took) for step in day.steps]) for day in found.days] == [
        ("2026-03-01", [("The first image arrived from MR, in lane stat", ""), ("3 images arrived from MR", "")]),
        (
            "2026-03-02",
            [
                ("The study was complete with 3 images, revision 1", "1 min 15 s after it began"),
                ("worker-1 took job 7, attempt 1", ""),
                ("Job 7 failed: no_usable_series", "0.5 s of work"),
                ("thing made up: thing/1, by x", ""),
            ],
        ),
    ]


def test_what_an_event_does_not_say_is_left_open(database: Database) -> None:
    write(database, "job:failed", "job/7", 0)
    with database.read() as session:
        (event,) = audit.history(session)
    assert told(event) == "Job 7 failed: (code not said)"


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.25, "0.2 s"), (59.6, "1 min"), (3725, "1 h 2 min"), (172_800, "2 d"), (90_061, "1 d 1 h")]
)
def test_durations_are_said_in_their_two_largest_units(seconds: float, said: str) -> None:
    assert spoken(seconds) == said
