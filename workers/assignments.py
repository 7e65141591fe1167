"""What a job asks for: a route, as the file that was in force has it, and the images of the series that it wants."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from storage import deletions, jobs, routings, series, studies
from storage.database import Database
from storage.domain import Lane, StoredInstance
from storage.routes.route import Route, Unfamiliar
from storage.routes.series_facts import SeriesFacts
from storage.sop_kinds import is_read
from workers.errors import TwoPatients

UNFAMILIAR = "unlike_training_data"
"""Why a result is on record and not sent: its input is farther from the training data than the route allows."""
NOTHING_DRAWN = "nothing_drawn"
"""Why a result is on record and not sent: a model that draws organs alone drew none, which says nothing."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """One job's route, the digest of the file that it stands in, and the stored instances that it is to read."""

    route: Route
    routes_sha256: str
    lane: Lane
    instances: tuple[StoredInstance, ...]
    calling_aets: frozenset[str] = frozenset()
    """Who sent the series that it reads."""

    def withheld(self, out_of_distribution: float | None) -> str | None:
        """Return why a result is not to be sent, or None where it is."""
        far = out_of_distribution is not None and out_of_distribution > self.route.unfamiliar_above
        return UNFAMILIAR if far and self.route.unfamiliar is Unfamiliar.WITHHOLD else None


def load_assignment(database: Database, held: jobs.Claim) -> Assignment:
    """Read what a claimed job asks for.

    TwoPatients where images of several share the study, whichever series the job wants; RecordMissing where its route
    is not on record; ImagesDeleted where retention deleted images that it is to read.
    """
    with database.read() as session:
        job = jobs.find(session, held.job_id)
        route = routings.route_named(session, job.route, job.routes_sha256)
        deletions.require_images(session, held.study_id, job.wanted)
        facts = series.of_study(session, held.study_id)
        _require_one_patient(facts)
        instances = studies.instances_of(session, held.study_id)
    wanted = tuple(item for item in instances if not job.wanted or item.series_instance_uid in job.wanted)
    return Assignment(route, job.routes_sha256 or "", job.lane, wanted, _senders(facts, job.wanted))


def _senders(facts: Iterable[SeriesFacts], wanted: Collection[str]) -> frozenset[str]:
    read = (one.calling_aets for one in facts if not wanted or one.series_instance_uid in wanted)
    return frozenset[str]().union(*read)


def _require_one_patient(facts: Iterable[SeriesFacts]) -> None:
    patients = {one.patient_id for one in facts if any(map(is_read, one.sop_class_uids))} - {""}
    if len(patients) > 1:
        raise TwoPatients(
            f"the study holds images of {len(patients)} patients; it is set aside until it is sent again with one"
        )
