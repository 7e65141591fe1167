from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from storage import audit
from storage.database import Database
from storage.errors import OncueError, RecordExists
from storage.fewshot import items
from storage.fewshot.errors import ItemRefused, PatientHeldElsewhere, PictureHeldElsewhere
from storage.fewshot.items import Split
from storage.fewshot.tasks import Task
from tests.support.classification import DRAFT, NOW, new_item, new_task


@pytest.fixture
def task(database: Database) -> Task:
    with database.write() as session:
        return new_task(session)


def _add(database: Database, task: Task, *new: items.NewItem) -> tuple[int, ...]:
    with database.write() as session:
        return items.add(session, task, new, actor="reader", now=NOW)


def test_a_patient_key_is_salted_and_holds_no_name(database: Database, task: Task) -> None:
    with database.write() as session:
        other = new_task(session, replace(DRAFT, name="other"))
    key = task.patient_key("DOE^JANE")
    assert "DOE" not in key
    assert key == task.patient_key("DOE^JANE")
    assert key != other.patient_key("DOE^JANE")


@pytest.mark.usefixtures("task")
def test_a_task_is_named_once_and_says_what_it_is_not_for(database: Database) -> None:
    with pytest.raises(RecordExists, match="texture"), database.write() as session:
        new_task(session)
    with pytest.raises(ItemRefused, match="not for"), database.write() as session:
        new_task(session, replace(DRAFT, name="x", not_for=" "))
    with pytest.raises(ItemRefused, match="positive"), database.write() as session:
        new_task(session, replace(DRAFT, name="x", positive_class="dotted"))


def test_a_patient_of_one_split_is_refused_in_another_and_the_item_is_named(database: Database, task: Task) -> None:
    _add(database, task, new_item(task, "P1", Split.SUPPORT))
    with pytest.raises(PatientHeldElsewhere, match=r"item 2 \(file:.*support"):
        _add(
            database,
            task,
            new_item(task, "P2", Split.EVALUATION),
            new_item(task, "P1", Split.EVALUATION, picture="b"),
        )
    with database.read() as session:
        assert len(items.in_use(session, task)) == 1


SECOND_SPLIT = (
    """INSERT INTO classification_patients (task_id, patient_key, split)
    SELECT task_id, patient_key, 'evaluation' FROM classification_patients""",
    """INSERT INTO classification_items (task_id, patient_key, split, source, image_sha256, mask_sha256, mask_source,
    look_alike, sex, age_band, site, added_at) SELECT task_id, patient_key, 'evaluation', source, 'x', '', 'none',
    '', '', '', '', added_at FROM classification_items""",
    "UPDATE classification_patients SET split = 'evaluation'",
    "UPDATE classification_items SET split = 'evaluation'",
)
CHANGES = (
    "UPDATE classification_tasks SET alpha = 0.5",
    "DELETE FROM classification_tasks",
    "DELETE FROM classification_patients",
    "UPDATE classification_items SET site = 'x'",
    "DELETE FROM classification_items",
    "UPDATE classification_labels SET label = 'x'",
    "DELETE FROM classification_labels",
)


def test_the_database_itself_keeps_a_patient_in_one_split_and_what_is_on_record(database: Database, task: Task) -> None:
    _add(database, task, new_item(task, "P1", Split.SUPPORT))
    for statement in (*SECOND_SPLIT, *CHANGES):
        with pytest.raises((OncueError, DBAPIError)), database.write() as session:
            session.execute(text(statement))
    with database.read() as session:
        assert [item.split for item in items.in_use(session, task)] == [Split.SUPPORT]


def test_the_same_picture_under_another_patient_is_refused_even_when_it_was_saved_anew(
    database: Database, task: Task
) -> None:
    first = replace(new_item(task, "P1", Split.SUPPORT), look_alike="00ff" * 32)
    _add(database, task, first)
    copy = replace(new_item(task, "P2", Split.EVALUATION), image_sha256=first.image_sha256, mask_sha256="m")
    with pytest.raises(PictureHeldElsewhere, match="another patient"):
        _add(database, task, copy)
    similar = replace(new_item(task, "P3", Split.EVALUATION), look_alike="00ff" * 31 + "00fe")
    with pytest.raises(PictureHeldElsewhere):
        _add(database, task, similar)
    with pytest.raises(ItemRefused, match="already on record"):
        _add(database, task, first)
    _add(database, task, replace(similar, look_alike="ff00" * 32))


def test_a_label_is_corrected_by_a_new_one_and_its_history_stays(database: Database, task: Task) -> None:
    (number,) = _add(database, task, new_item(task, "P1", Split.SUPPORT))
    with database.write() as session:
        before = items.snapshot_sha256(items.in_use(session, task))
        items.relabel(session, number, "striped", task=task, labeller="expert", reason="second reading", now=NOW)
    with database.read() as session:
        assert [item.label for item in items.in_use(session, task)] == ["striped"]
        assert items.snapshot_sha256(items.in_use(session, task)) != before
        events = items.label_history(session, number)
    assert [(event.label, event.labeller) for event in events] == [("plain", "reader"), ("striped", "expert")]
    with database.write() as session:
        items.relabel(session, number, None, task=task, labeller="expert", reason="withdrawn", now=NOW)
    with database.read() as session:
        assert items.in_use(session, task) == ()
        tags = [event.tag for event in audit.history(session, subject="task/texture")]
    assert tags == ["task:created", "items:added", "item:relabelled", "item:relabelled"]


def test_an_unknown_label_and_a_change_without_a_reason_are_refused(database: Database, task: Task) -> None:
    with pytest.raises(ItemRefused, match=r"item 1 .*'dotted'"):
        _add(database, task, new_item(task, "P1", Split.SUPPORT, label="dotted"))
    (number,) = _add(database, task, new_item(task, "P1", Split.SUPPORT))
    with pytest.raises(ItemRefused, match="say why"), database.write() as session:
        items.relabel(session, number, "striped", task=task, labeller="expert", reason=" ", now=NOW)
