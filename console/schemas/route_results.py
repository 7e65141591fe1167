"""What the analyses of a study by its routes came to."""

from __future__ import annotations

from console.record_schema import RecordSchema
from storage.domain import Priority
from storage.states import JobState


class RouteResultForm(RecordSchema):
    """What one route's analysis of a study came to so far, in ``oncue studies list --json``.

    ``state`` and ``code`` are its job's. The result's values are null where there is none; ``volume_ml`` also where the
    images tell no volumes.
    """

    route: str
    state: JobState
    code: str | None
    finding: str | None
    volume_ml: float | None
    confidence: float | None
    priority: Priority | None


class RouteResultDetailForm(RouteResultForm):
    """The same for the worklist and the API; ``withheld`` says why the result is not sent."""

    label: str | None
    withheld: str | None
    out_of_distribution: float | None
    job_id: int
    result_job_id: int | None
    result_revision: int | None
