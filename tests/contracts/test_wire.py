"""Names that others rely on: on the wire, in the database, in scripts. Renaming a module must not change them."""

from __future__ import annotations

from dataclasses import fields

from console.forms import DeliveryForm, JobForm, StudyForm
from storage.domain import DeliveryState, JobState, Lane, ObjectKind, Priority, StudyState
from workers.config import WorkerSettings
from workers.queue.app import ANALYSE, FIT, make_app


def test_the_tasks_keep_their_names_and_their_queues() -> None:
    app = make_app(WorkerSettings())
    assert ANALYSE == "oncue.analyse"
    assert FIT == "oncue.fit"
    assert set(app.conf.task_queues) == {"stat", "routine", "batch"}
    assert app.conf.accept_content == ["json"]
    assert app.conf.task_serializer == "json"


def test_states_and_kinds_keep_their_words() -> None:
    assert [state.value for state in StudyState] == ["receiving", "queued", "running", "succeeded", "failed"]
    assert [state.value for state in JobState] == ["queued", "running", "succeeded", "failed", "superseded"]
    assert [state.value for state in DeliveryState] == ["pending", "sending", "sent", "refused"]
    assert [kind.value for kind in ObjectKind] == ["SEG", "SR", "PM"]
    assert [priority.value for priority in Priority] == ["STAT", "HIGH", "ROUTINE", "LOW"]
    assert [lane.value for lane in Lane] == ["stat", "routine", "batch"]


def test_the_listings_keep_their_fields() -> None:
    assert [field.name for field in fields(StudyForm)] == [
        "study_instance_uid",
        "revision",
        "state",
        "priority",
        "instances",
        "finding",
        "volume_ml",
        "confidence",
    ]
    assert [field.name for field in fields(JobForm)] == [
        "id",
        "study_instance_uid",
        "revision",
        "state",
        "attempts",
        "code",
    ]
    assert [field.name for field in fields(DeliveryForm)] == [
        "sop_instance_uid",
        "kind",
        "destination",
        "state",
        "status",
    ]
