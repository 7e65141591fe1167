"""Why nothing of a study may be deleted though it is old enough: asked about many studies in one statement."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import ColumnElement, Select, exists, or_, select
from sqlalchemy.orm import Session

from storage import receipts
from storage.deletion_tables import AnalysisFileRow, KeptStudyRow
from storage.delivery_tables import DeliveryProofRow, DeliveryRow, DestinationRow
from storage.fewshot.tables import ClassificationItemRow
from storage.models import InstanceRow, JobRow, StudyRow
from storage.proof_ways import ProofWay
from storage.result_tables import AnalysisRow, NoticeRow, RejectionRow, ReportRow, ResultObjectRow
from storage.retention import candidates
from storage.retention.rules import Delivered, RetentionRule, Since
from storage.states import DeliveryState, JobState, ProofState, RejectionState, ReportState


class Obstacle(StrEnum):
    """What keeps a study, the first of them that holds."""

    KEPT = "kept_by_a_person"
    ARRIVING = "still_arriving"
    UNRECORDED = "images_not_on_record"
    ANALYSED = "being_analysed"
    UNWRITTEN = "results_not_written"
    ON_THE_WAY = "delivery_on_its_way"
    REFUSED = "delivery_refused"
    UNPROVEN = "delivery_not_proven"
    UNSENT = "not_sent"
    EXAMPLE = "example_of_a_task"
    YOUNG = "analysed_too_lately"


@dataclass(frozen=True, slots=True)
class Journals:
    """The studies of which acknowledged images wait for their rows, as ``journals.unregistered_studies`` gives them."""

    study_keys: frozenset[bytes]

    def hold(self, study_instance_uid: str) -> bool:
        """Say whether images of a study wait."""
        return bool(self.study_keys) and receipts.study_key(study_instance_uid) in self.study_keys


def judge(
    session: Session, ids: Collection[int], rule: RetentionRule, *, waiting: Journals, now: datetime
) -> dict[int, Obstacle]:
    """Return what keeps some studies from being deleted by a rule; those of which it may are not in it."""
    checks = _checks(session, rule, now)
    columns = [check.label(obstacle.name) for obstacle, check in checks]
    query = select(StudyRow.id, StudyRow.study_instance_uid, *columns).where(StudyRow.id.in_(ids))
    found: dict[int, Obstacle] = {}
    for study_id, uid, *holds in session.execute(query):
        names = [obstacle for (obstacle, _), held in zip(checks, holds, strict=True) if held]
        if waiting.hold(uid):
            names.append(Obstacle.UNRECORDED)
        if names:
            found[study_id] = min(names, key=list(Obstacle).index)
    return found


def _checks(session: Session, rule: RetentionRule, now: datetime) -> list[tuple[Obstacle, ColumnElement[bool]]]:
    refused = [] if rule.also_refused else [(Obstacle.REFUSED, _refused())]
    unsent = [] if rule.delivered is Delivered.SETTLED else [(Obstacle.UNSENT, _unsent())]
    example = (
        [(Obstacle.EXAMPLE, _example())] if session.scalar(select(exists(select(ClassificationItemRow.id)))) else []
    )
    young = [(Obstacle.YOUNG, _analysed_since(rule, now))] if rule.since is Since.ANALYSED else []
    on_the_way = (DeliveryState.PENDING.value, DeliveryState.SENDING.value)
    return [
        (Obstacle.KEPT, exists().where(KeptStudyRow.study_id == StudyRow.id)),
        (Obstacle.ARRIVING, StudyRow.closed_at.is_(None)),
        (Obstacle.ANALYSED, _at_work()),
        (Obstacle.UNWRITTEN, _outboxes(ReportState.PENDING, RejectionState.PENDING)),
        (Obstacle.ON_THE_WAY, exists(_deliveries().where(DeliveryRow.state.in_(on_the_way)))),
        *refused,
        (Obstacle.UNPROVEN, _unproven(also_failed=not rule.also_refused)),
        *unsent,
        *example,
        *young,
    ]


def _at_work() -> ColumnElement[bool]:
    return exists().where(
        JobRow.study_id == StudyRow.id, JobRow.state.in_((JobState.QUEUED.value, JobState.RUNNING.value))
    )


def _outboxes(report: ReportState, rejection: RejectionState) -> ColumnElement[bool]:
    """Return whether reports, rejection notes or notices are in a state; notices have those of reports."""
    reports = select(ReportRow.job_id).join(JobRow, JobRow.id == ReportRow.job_id)
    notes = select(RejectionRow.job_id).join(JobRow, JobRow.id == RejectionRow.job_id)
    return or_(
        exists(_own(reports).where(ReportRow.state == report.value)),
        exists(_own(notes).where(RejectionRow.state == rejection.value)),
        exists().where(NoticeRow.study_id == StudyRow.id, NoticeRow.state == report.value),
    )


def _refused() -> ColumnElement[bool]:
    """Return whether a destination refused something, or it could not even be written: a person is to look at it."""
    refused = exists(_deliveries().where(DeliveryRow.state == DeliveryState.REFUSED.value))
    return or_(refused, _outboxes(ReportState.FAILED, RejectionState.FAILED))


def _unproven(*, also_failed: bool) -> ColumnElement[bool]:
    """Return whether a destination has yet to show that it keeps what it took, or could not show it.

    Only destinations that are to show it at this moment count: of one that is gone nobody can ask for it.
    """
    open_states = (ProofState.PENDING, ProofState.ASKED, *([ProofState.FAILED] if also_failed else []))
    wanted = select(DestinationRow.name).where(DestinationRow.proof != ProofWay.NONE.value)
    unproven = (
        _deliveries()
        .join(DeliveryProofRow, DeliveryProofRow.delivery_id == DeliveryRow.id)
        .where(DeliveryRow.state == DeliveryState.SENT.value)
        .where(DeliveryProofRow.state.in_([state.value for state in open_states]))
        .where(DeliveryProofRow.destination.in_(wanted))
    )
    return exists(unproven)


def _unsent() -> ColumnElement[bool]:
    """Return whether a valid result was sent nowhere. What is on its way or refused is looked at by others."""
    sent = (
        exists()
        .where(ResultObjectRow.job_id == AnalysisRow.job_id)
        .where(DeliveryRow.object_id == ResultObjectRow.id, DeliveryRow.state == DeliveryState.SENT.value)
    )
    results = select(AnalysisRow.job_id).join(JobRow, JobRow.id == AnalysisRow.job_id)
    return exists(_own(results).where(AnalysisRow.superseded_at.is_(None), ~sent))


def _example() -> ColumnElement[bool]:
    """Return whether a labelled item of a few-shot task is a file of the study."""
    image, mask = (select(column) for column in (ClassificationItemRow.image_sha256, ClassificationItemRow.mask_sha256))
    instance = exists().where(
        InstanceRow.study_id == StudyRow.id, or_(InstanceRow.digest.in_(image), InstanceRow.digest.in_(mask))
    )
    files = _own(select(AnalysisFileRow.job_id).join(JobRow, JobRow.id == AnalysisFileRow.job_id))
    return or_(instance, exists(files.where(or_(AnalysisFileRow.digest.in_(image), AnalysisFileRow.digest.in_(mask)))))


def _analysed_since(rule: RetentionRule, now: datetime) -> ColumnElement[bool]:
    results = select(AnalysisRow.job_id).join(JobRow, JobRow.id == AnalysisRow.job_id)
    return exists(_own(results).where(AnalysisRow.analysed_at >= candidates.latest(rule, now)))


def _deliveries() -> Select[int]:
    query = select(DeliveryRow.id).join(ResultObjectRow, ResultObjectRow.id == DeliveryRow.object_id)
    return query.where(ResultObjectRow.study_id == StudyRow.id).correlate(StudyRow)


def _own(query: Select[int]) -> Select[int]:
    return query.where(JobRow.study_id == StudyRow.id).correlate(StudyRow)
