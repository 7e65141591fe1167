"""What is to be told of a study at this moment: the priority that its leading result gives it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from storage import audit, held_results
from storage.announcing.channels import ChannelEntry
from storage.domain import Priority
from storage.held_results import RouteResult
from storage.models import StudyRow
from storage.result_tables import AnalysisRow


@dataclass(frozen=True, slots=True)
class StudyFact:
    """The priority of a study and the result that gives it; without a priority there is no result either.

    A job that was tried again has another result, which ``analysed_at`` tells apart. ``patient_key`` stands for the
    patient of the study, and is no part of the fact.
    """

    study_id: int
    study_instance_uid: str
    patient_key: str | None
    revision: int
    job_id: int | None = None
    analysed_at: datetime | None = None
    priority: Priority | None = None

    @property
    def digest(self) -> str:
        """SHA-256 of all of it in hex digits: the same fact has the same one in every installation."""
        analysed = None if self.analysed_at is None else audit.moment(self.analysed_at)
        return digest_of(self.study_instance_uid, self.revision, self.job_id, analysed, self.priority)


def results_of(session: Session, study_id: int) -> tuple[RouteResult, ...]:
    """Return what each route of a study came to."""
    return held_results.of_studies(session, [study_id], waits_for=lambda _: None).get(study_id, ())


def fact_for(session: Session, study: StudyRow, results: Sequence[RouteResult], channel: ChannelEntry) -> StudyFact:
    """Return what a channel is to know of a study: only results of its routes count."""
    lead = held_results.leading([one for one in results if channel.listens_to(one.route)])
    priority = held_results.priority_of(lead)
    if lead is None or priority is None:
        return StudyFact(study.id, study.study_instance_uid, study.patient_key, study.revision)
    analysed_at = session.scalars(select(AnalysisRow.analysed_at).where(AnalysisRow.job_id == lead.result_job_id)).one()
    revision = lead.result_revision or study.revision
    known = (study.id, study.study_instance_uid, study.patient_key, revision)
    return StudyFact(*known, lead.result_job_id, analysed_at, priority)


def digest_of(*parts: str | int | None) -> str:
    """Return the SHA-256 of some parts in hex digits; no two lists of parts have the same one."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
