"""Studies in lists and in the worklist."""

from __future__ import annotations

from collections.abc import Sequence

from console.record_schema import IsoTime, RecordSchema
from console.schemas.route_results import RouteResultDetailForm, RouteResultForm
from storage.domain import Priority
from storage.states import StudyState


class StudyForm(RecordSchema):
    """One study in ``oncue studies list --json``: the leading result, and what each route came to."""

    study_instance_uid: str
    revision: int
    state: StudyState
    priority: Priority | None
    instances: int
    finding: str | None
    volume_ml: float | None
    confidence: float | None
    analyses: Sequence[RouteResultForm]


class ListedStudyForm(StudyForm):
    """The same with ``cursor``: where the list goes on behind it."""

    cursor: str | None


class WorklistForm(StudyForm):
    """One study in reading order: the study's form, our number for it, and what else the reader weighs; no patient.

    ``reasons`` say of a study that no route wants why each does not apply. ``read_at`` and ``read_by`` say when and by
    whom it was marked as read; ``unread`` is true again where a new result came since. ``waits_for`` is what an open
    study waits for, ``expected_instances`` how many images its source said to hold.
    """

    id: int
    label: str | None
    result_revision: int | None
    job_id: int | None
    code: str | None
    last_instance_at: IsoTime
    analyses: Sequence[RouteResultDetailForm]
    reasons: list[str]
    waits_for: str | None
    expected_instances: int | None
    unread: bool
    read_at: IsoTime | None
    read_by: str | None


class ListedWorklistForm(WorklistForm):
    """The same with ``cursor``: where the list goes on behind it."""

    cursor: str | None
