from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage import audit
from storage.audit import AuditEvent, ConcernedStudy
from storage.database import Database
from storage.errors import QuestionInvalid
from storage.history import questions, words
from storage.history.question import Order, Question

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
OLD, NEW = "1a" * 32, "1b" * 32
TAGS = ("study:opened", "study:analysed", "job:failed", "instance:stored", "delivery:refused")
CODES = ("no_usable_series", "usable", "series", "out.of.memory", "PACS@10.0.0.1:104", "9f86d081")


def write(
    database: Database, tag: str = "study:opened", subject: str = "study/1.2", *, at: datetime = NOW, **more: object
) -> None:
    """Write one event; what the details cannot hold stands in ``more`` as study or patient_key."""
    study = ConcernedStudy(str(more.pop("study")), _text(more.pop("patient_key", None))) if "study" in more else None
    actor = str(more.pop("actor", "MODALITY"))
    details = {name: str(value) for name, value in more.items()}
    with database.write() as session:
        audit.record(session, tag, subject, actor=actor, now=at, details=details, study=study)


def ask(database: Database, question: Question, order: Order = Order.NEWEST, *, limit: int = 100) -> list[int]:
    """Return the numbers of all events that pass, walked by pages."""
    with database.read() as session:
        return [event.seq for page in questions.pages(session, question, order, size=limit) for event in page.events]


def subjects(database: Database, question: Question) -> list[str]:
    with database.read() as session:
        return [event.subject for event in questions.page(session, question).events]


@pytest.fixture
def told(database: Database) -> Database:
    """Return a history in which each filter finds something."""
    write(database, "study:opened", "study/1.2", study="1.2", patient_key="a" * 32)
    write(database, "instance:stored", "instance/1.2.3.4", study="1.2", patient_key="a" * 32, series="1.2.3")
    write(
        database, "study:analysed", "study/1.2", study="1.2", actor="worker-1", route="head-mr", model="m", weights=OLD
    )
    write(
        database, "study:analysed", "study/1.9", study="1.9", actor="worker-1", route="chest-ct", model="n", weights=NEW
    )
    write(database, "job:failed", "job/3", study="1.9", actor="worker-2", code="no_usable_series")
    write(
        database,
        "delivery:refused",
        "instance/1.9.9",
        actor="delivery",
        destination="PACS@10.0.0.1:104",
        at=NOW + timedelta(days=70),
    )
    return database


@pytest.mark.parametrize(
    ("question", "found"),
    [
        (Question(study="1.2"), ["study/1.2", "instance/1.2.3.4", "study/1.2"]),
        (Question(patient_key="a" * 32), ["instance/1.2.3.4", "study/1.2"]),
        (Question(series="1.2.3"), ["instance/1.2.3.4"]),
        (Question(object="1.2.3.4"), ["instance/1.2.3.4"]),
        (Question(object="1.9"), ["study/1.9"]),
        (Question(object="job/3"), ["job/3"]),
        (Question(actor="worker-1"), ["study/1.9", "study/1.2"]),
        (Question(action="job:failed"), ["job/3"]),
        (Question(action="study:"), ["study/1.9", "study/1.2", "study/1.2"]),
        (Question(action="nothing:"), []),
        (Question(outcome="failed"), ["job/3"]),
        (Question(outcome="refused"), ["instance/1.9.9"]),
        (Question(route="head-mr"), ["study/1.2"]),
        (Question(model="n"), ["study/1.9"]),
        (Question(weights=OLD), ["study/1.2"]),
        (Question(weights="1"), ["study/1.9", "study/1.2"]),
        (Question(weights="1a"), ["study/1.2"]),
        (Question(since=NOW + timedelta(days=1)), ["instance/1.9.9"]),
        (Question(until=NOW), []),
        (Question(words="no_usable_series"), ["job/3"]),
        (Question(words="USABLE"), ["job/3"]),
        (Question(words="series usable"), ["job/3"]),
        (Question(words="series_usable"), []),
        (Question(words="10.0.0.1:104"), ["instance/1.9.9"]),
        (Question(words="PACS@10.0.0.1:104"), ["instance/1.9.9"]),
        (Question(words=OLD), ["study/1.2"]),
        (Question(words="head-mr", actor="worker-1"), ["study/1.2"]),
        (Question(words="head-mr", study="1.2"), ["study/1.2"]),
        (Question(words="head-mr", action="study:"), ["study/1.2"]),
        (Question(words="head-mr", study="1.9"), []),
    ],
    ids=str,
)  # fmt: skip # reads by its lines
def test_each_filter_finds_what_it_names(told: Database, question: Question, found: list[str]) -> None:
    assert subjects(told, question) == found


@pytest.mark.parametrize("cursor", ["", "x", "2026-03-01~1", "2026-03-01T12:00:00.000000+00:00", "~", "1~1"])
def test_what_is_no_cursor_is_refused_with_a_code(database: Database, cursor: str) -> None:
    with database.read() as session, pytest.raises(QuestionInvalid, match="cursor"):
        questions.page(session, Question(), after=cursor)


def test_words_that_hold_no_letter_are_refused(database: Database) -> None:
    with database.read() as session, pytest.raises(QuestionInvalid, match="no word"):
        questions.page(session, Question(words=" -- "))


def test_events_of_one_time_are_paged_by_their_numbers(database: Database) -> None:
    for number in range(7):
        write(database, subject=f"study/{number}")
    forwards = ask(database, Question(), Order.OLDEST, limit=2)
    assert forwards == sorted(forwards)
    assert len(forwards) == 7
    assert ask(database, Question(), limit=3) == forwards[::-1]


def test_pages_have_no_gap_and_no_double_while_writers_go_on(database: Database) -> None:
    for number in range(30):
        write(database, subject=f"study/{number}", at=NOW + timedelta(seconds=number))
    before = ask(database, Question(), Order.OLDEST)
    stop = threading.Event()

    def go_on() -> None:
        number = 100
        while not stop.is_set():
            write(database, subject=f"study/{number}", at=NOW + timedelta(seconds=number))
            number += 1

    writer = threading.Thread(target=go_on)
    writer.start()
    try:
        newest_first, oldest_first = (_walked(database, order) for order in Order)
    finally:
        stop.set()
        writer.join()
    for walked in (newest_first, oldest_first):
        assert len(walked) == len(set(walked))
        assert set(before) <= set(walked)


def _walked(database: Database, order: Order) -> list[int]:
    """Walk by pages of two, each in a transaction of its own."""
    seen: list[int] = []
    cursor: str | None = None
    while True:
        with database.read() as session:
            page = questions.page(session, Question(), order, limit=2, after=cursor)
        seen += [event.seq for event in page.events]
        cursor = page.cursor
        if cursor is None or len(seen) > 400:
            return seen


def test_a_word_of_nearly_every_event_is_found_newest_first(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(words, "_FEW", 3)
    monkeypatch.setattr(words, "_WINDOW", 2)
    for number in range(40):
        # Their times run against their numbers here and there, as those of several machines do.
        at = NOW + timedelta(days=number * 5 - (number % 3) * 7)
        write(database, subject=f"study/{number}", at=at, lane="routine" if number % 4 else "stat")
    for order in Order:
        everything = {event.seq: event for event in _all(database)}
        found = ask(database, Question(words="routine"), order, limit=3)
        assert found == [event.seq for event in _sorted(everything.values(), order) if "routine" in event.details]
        bounded = Question(words="routine", since=NOW + timedelta(days=50), until=NOW + timedelta(days=120))
        times = (audit.moment(NOW + timedelta(days=50)), audit.moment(NOW + timedelta(days=120)))
        assert set(ask(database, bounded, order, limit=3)) == {
            event.seq for event in everything.values() if "routine" in event.details and times[0] <= event.at < times[1]
        }


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(TAGS),
        st.sampled_from(("study/1.2", "study/1.9", "instance/1.2.3", "job/1")),
        st.sampled_from(("worker-1", "MODALITY")),
        st.sampled_from((None, "1.2", "1.9")),
        st.sampled_from(("head-mr", "chest-ct")),
        st.sampled_from((OLD, NEW)),
        st.lists(st.sampled_from(CODES), max_size=2),
        st.integers(0, 6),
    ),
    max_size=14,
)
ORDERS = st.sampled_from(Order)
QUESTIONS = st.builds(
    Question,
    study=st.sampled_from((None, None, "1.2")),
    object=st.sampled_from((None, None, None, "1.2", "1.2.3", "job/1")),
    actor=st.sampled_from((None, None, "worker-1")),
    action=st.sampled_from((None, None, "study:", "study:opened", "job:", "x:")),
    outcome=st.sampled_from((None, None, None, "failed", "success")),
    route=st.sampled_from((None, None, "head-mr")),
    weights=st.sampled_from((None, None, "1", "1a", NEW)),
    since=st.sampled_from((None, None, NOW + timedelta(days=20))),
    until=st.sampled_from((None, None, NOW + timedelta(days=80))),
    words=st.sampled_from((None, None, *CODES, "usable series", "Series")),
)


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(EVENTS, st.lists(QUESTIONS, min_size=1, max_size=6), st.tuples(st.integers(1, 5), st.integers(1, 4), ORDERS))
def test_walking_by_pages_is_filtering_in_memory(
    database: Database,
    rows: Sequence[tuple[object, ...]],
    asked: list[Question],
    way: tuple[int, int, Order],
) -> None:
    size, few, order = way
    floor = max((event.seq for event in _all(database)), default=0)
    for tag, subject, actor, study, route, weights, codes, days in rows:
        more = {"study": study} if study else {}
        write(
            database, str(tag), str(subject), at=NOW + timedelta(days=20 * int(str(days))),
            actor=actor, route=route, weights=weights, code=" ".join(codes), **more,  # type: ignore[arg-type] # any of its values
        )  # fmt: skip # reads by its lines
    everything = [event for event in _sorted(_all(database), order) if event.seq > floor]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(words, "_FEW", few)
        patch.setattr(words, "_WINDOW", few)
        for question in asked:
            found = [seq for seq in ask(database, question, order, limit=size) if seq > floor]
            assert found == [event.seq for event in everything if _passes(event, question)], question


def _all(database: Database) -> list[AuditEvent]:
    with database.read() as session:
        return list(audit.history(session, limit=10_000))


def _sorted(events: object, order: Order) -> list[AuditEvent]:
    ordered = sorted(events, key=lambda event: (event.at, event.seq))  # type: ignore[call-overload] # rows of objects
    return ordered[::-1] if order is Order.NEWEST else list(ordered)


def _passes(event: AuditEvent, question: Question) -> bool:
    return all(_holds(event, name, getattr(question, name)) for name in question.filters)


def _holds(event: AuditEvent, name: str, wanted: Any) -> bool:
    said = f" {' '.join(_spoken(event.details))} "
    holds: dict[str, Callable[[], bool]] = {
        "object": lambda: event.subject in {wanted, f"instance/{wanted}", f"study/{wanted}"},
        "action": lambda: event.tag == wanted or (wanted.endswith(":") and event.tag.startswith(wanted)),
        "weights": lambda: (event.weights or "").startswith(wanted),
        "since": lambda: event.at >= audit.moment(wanted),
        "until": lambda: event.at < audit.moment(wanted),
        "words": lambda: all(f" {' '.join(_spoken(word))} " in said for word in wanted.split()),
    }
    return holds.get(name, lambda: bool(getattr(event, name) == wanted))()


def _spoken(text: str) -> list[str]:
    return "".join(character if character.isalnum() else " " for character in text.lower()).split()


def _text(value: object) -> str | None:
    return None if value is None else str(value)
