"""Jobs in lists, and one with all that is on record of it."""

from __future__ import annotations

from pydantic import Field

from console.record_schema import IsoTime, RecordSchema
from storage.domain import Lane
from storage.states import JobState


class JobForm(RecordSchema):
    """One job in ``oncue jobs list --json``."""

    id: int
    study_instance_uid: str
    revision: int
    state: JobState
    attempts: int
    code: str | None
    route: str
    pool: str


class ListedJobForm(JobForm):
    """The same with ``cursor``: where the list goes on behind it."""

    cursor: str


class JobDetailForm(JobForm):
    """One job in ``oncue jobs show --json``: the list's form, what it is to do, and why and when.

    ``wanted`` are the Series Instance UIDs that its route wants; none stands for all.
    """

    analyser: str
    routes_sha256: str | None
    wanted: list[str]
    reason: str | None
    lane: Lane
    opened_at: IsoTime
    started_at: IsoTime | None
    finished_at: IsoTime | None
    worker: str | None = Field(validation_alias="lease_owner")
