"""Names that others rely on: on the wire, in the database, in scripts. Renaming a module must not change them."""

from __future__ import annotations

from dataclasses import fields

from console.doctor.parts import ExaminedPart, PartHealth
from console.history.forms import EventPageForm, FacetsForm, SightingForm, StepForm, TimelineForm
from console.schemas.deliveries import DeliveryForm
from console.schemas.events import EventForm
from console.schemas.findings import FindingForm, StructureForm
from console.schemas.health import HealthForm
from console.schemas.jobs import JobDetailForm, JobForm
from console.schemas.panels import PanelForm
from console.schemas.results import ResultForm
from console.schemas.route_results import RouteResultForm
from console.schemas.studies import StudyForm, WorklistForm
from console.schemas.study_record import StudyDetailForm
from storage.domain import Lane, ObjectKind, Priority
from storage.states import DeliveryState, JobState, StudyState
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
    assert " ".join(StudyState) == ("receiving not_applicable queued running succeeded failed held set_aside")
    assert [state.value for state in JobState] == ["queued", "running", "succeeded", "failed", "superseded"]
    assert " ".join(DeliveryState) == "pending sending sent refused superseded called_off"
    assert [kind.value for kind in ObjectKind] == ["SEG", "LABELMAP", "SR", "SC", "GSPS", "KO", "PDF", "PM", "REJECT"]
    assert [priority.value for priority in Priority] == ["STAT", "HIGH", "ROUTINE", "LOW"]
    assert [lane.value for lane in Lane] == ["stat", "routine", "batch"]


def test_the_listings_keep_their_fields() -> None:
    assert list(StudyForm.model_fields) == [
        "study_instance_uid",
        "revision",
        "state",
        "priority",
        "instances",
        "finding",
        "volume_ml",
        "confidence",
        "analyses",
    ]
    assert " ".join(RouteResultForm.model_fields) == "route state code finding volume_ml confidence priority"
    assert list(JobForm.model_fields) == [
        "id",
        "study_instance_uid",
        "revision",
        "state",
        "attempts",
        "code",
        "route",
        "pool",
    ]
    assert list(DeliveryForm.model_fields) == [
        "sop_instance_uid",
        "kind",
        "destination",
        "state",
        "status",
        "id",
        "attempts",
        "code",
        "reason",
        "proof",
    ]


def test_the_details_keep_their_fields() -> None:
    study, job = list(StudyForm.model_fields), list(JobForm.model_fields)
    more = ["id", "label", "result_revision", "job_id", "code", "last_instance_at", "reasons"]
    more += ["waits_for", "expected_instances", "unread", "read_at", "read_by"]
    assert list(WorklistForm.model_fields) == [*study, *more]
    more = ["reason", "lane", "opened_at", "started_at", "finished_at", "worker"]
    routed = ["analyser", "routes_sha256", "wanted"]
    assert list(JobDetailForm.model_fields) == [*job, *routed, *more]
    study = ["study", "jobs", "result", "results", "deliveries", "events"]
    assert list(StudyDetailForm.model_fields) == [*study, "deletions", "kept", "urgent"]
    assert list(EventPageForm.model_fields) == ["events", "cursor", "facets"]
    assert list(TimelineForm.model_fields) == ["study", "days", "complete"]
    assert " ".join(StepForm.model_fields) == "seq at until tag actor outcome sentence events seconds"
    assert list(SightingForm.model_fields) == ["who", "what", "times", "first_at", "last_at"]
    assert list(FacetsForm.model_fields) == ["actions", "actors", "days", "complete"]
    assert list(HealthForm.model_fields) == ["database", "complete", "processes"]
    assert " ".join(EventForm.model_fields) == (
        "seq at tag subject actor outcome study series patient_key route model weights details previous_hash hash"
    )
    assert " ".join(PanelForm.model_fields) == (
        "number picture slice_index attention_inside attention_outside residual_inside residual_outside tiles"
    )
    assert " ".join(FindingForm.model_fields) == (
        "number presence finding code scheme confidence extent volume_ml longest_diameter_mm area_mm2 tracking_uid "
        "label label_probability abstained prediction site site_code laterality"
    )
    assert " ".join(StructureForm.model_fields) == (
        "number name organ code scheme laterality volume_ml lesions tracking_uid"
    )
    assert " ".join(ResultForm.model_fields) == (
        "job_id route revision algorithm weights_sha256 case_score out_of_distribution unlike_training priority rule "
        "policy policy_sha256 shadows findings seconds overlays panels left_out withheld superseded superseded_by "
        "structures"
    )


def test_the_doctor_keeps_its_fields_and_its_words() -> None:
    assert [field.name for field in fields(ExaminedPart)] == ["subject", "verdict", "detail"]
    assert [health.value for health in PartHealth] == ["fine", "remark", "broken"]
