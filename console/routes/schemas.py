"""What `oncue routes` writes for other programs. Nothing here quotes a description: people write names there."""

from __future__ import annotations

from typing import Annotated

from pydantic import AliasPath, BeforeValidator, Field

from console.record_schema import IsoTime, RecordSchema
from storage.domain import Lane
from storage.routes.regions import Region
from storage.routes.route import Unfamiliar
from storage.states import StudyState


def _in_order(regions: frozenset[Region]) -> list[Region]:
    return sorted(regions)


Regions = Annotated[list[Region], BeforeValidator(_in_order)]


class RouteForm(RecordSchema):
    """One route in ``oncue routes list --json``, with the file that it stands in and that file's digest.

    ``lane`` is null where the sender's holds, ``task`` where whichever fits does; ``conditions`` on
    series, ``requirements`` of their volumes and what the study ``waits_for`` are in words.
    """

    name: str
    analyser: str
    prompt: str | None
    task: str | None
    lane: Lane | None
    pool: str
    unfamiliar: Unfamiliar
    unfamiliar_above: float
    secondary_capture: bool
    conditions: list[str]
    requirements: list[str]
    waits_for: list[str]
    file: str
    routes_sha256: str


class ReroutedForm(RecordSchema):
    """A study that the routes are asked about again, and the revision under which they are."""

    study_instance_uid: str
    revision: int


class UnmetForm(RecordSchema):
    """One condition that a series does not meet."""

    condition: str
    wanted: str
    found: str


class ConsideredForm(RecordSchema):
    """One series as a route sees it."""

    series_instance_uid: str
    wanted: bool
    unmet: list[UnmetForm]


class RouteAnswerForm(RecordSchema):
    """What a route says of each series of a study."""

    route: str = Field(validation_alias=AliasPath("route", "name"))
    series: list[ConsideredForm]


class SeriesForm(RecordSchema):
    """What routes know of a series; ``contradicts_itself`` where header and descriptions name different regions."""

    series_instance_uid: str
    modality: str
    frames: int
    stated_regions: Regions
    described_regions: Regions
    contradicts_itself: bool


class PlannedJobForm(RecordSchema):
    """One job that a study would get: what is done, and with which series."""

    route: str = Field(validation_alias=AliasPath("route", "name"))
    analyser: str = Field(validation_alias=AliasPath("route", "analyser"))
    prompt: str | None = Field(validation_alias=AliasPath("route", "prompt"))
    task: str | None = Field(validation_alias=AliasPath("route", "task"))
    lane: Lane | None = Field(validation_alias=AliasPath("route", "lane"))
    pool: str = Field(validation_alias=AliasPath("route", "pool"))
    series: list[str] = Field(validation_alias="wanted")


class StudyRoutingForm(RecordSchema):
    """One study in ``oncue routes test --json``: what it would become, why, and what was looked at."""

    study_instance_uid: str
    becomes: StudyState
    routes_sha256: str = Field(validation_alias=AliasPath("routing", "routes_sha256"))
    jobs: list[PlannedJobForm] = Field(validation_alias=AliasPath("routing", "chosen"))
    reasons: list[str]
    series: list[SeriesForm]
    answers: list[RouteAnswerForm] = Field(validation_alias=AliasPath("routing", "answers"))


class RouteChangeForm(RecordSchema):
    """A route that wants a study by both files, and the keys that differ; ``series`` are the series that it wants."""

    route: str
    differs: list[str]


class ReplayedStudyForm(RecordSchema):
    """One study in ``oncue routes replay --json``; ``before`` is null where it closed before routings were kept."""

    study_instance_uid: str
    revision: int
    closed_at: IsoTime
    before: list[str] | None
    after: list[str]
    gained: list[str]
    lost: list[str]
    changed: list[RouteChangeForm]
    reasons: list[str]


class ReplayForm(RecordSchema):
    """What ``oncue routes replay --json`` writes: how many studies closed, how many would differ, and those shown."""

    since: IsoTime
    file: str
    routes_sha256: str
    studies: int
    different: int
    unrecorded: int
    shown: list[ReplayedStudyForm]
