"""What studies hold by number: their series and objects, counted from the rows of the objects themselves."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from storage.holdings import held
from storage.holdings.tables import HeldSeriesRow, HeldStudyRow
from storage.models import InstanceRow
from storage.result_tables import ResultObjectRow

_MOST_OF_PATIENT = 10_000


@dataclass(frozen=True, slots=True)
class Contents:
    """What is held of a study: how many objects each series has, their modalities and their SOP classes."""

    instances: Mapping[str, int]
    modalities: frozenset[str]
    sop_class_uids: frozenset[str]


NOTHING = Contents({}, frozenset(), frozenset())


@dataclass(frozen=True, slots=True)
class Totals:
    """How much is held of a patient."""

    studies: int
    series: int
    instances: int


def contents(session: Session, study_ids: Collection[int]) -> dict[int, Contents]:
    """Return what is held of some studies, by their numbers."""
    instances: dict[int, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    classes: dict[int, set[str]] = defaultdict(set)
    for query in (_received(study_ids), _written(study_ids)):
        for study_id, series_uid, class_uid, count in session.execute(query):
            instances[study_id][series_uid] += count
            classes[study_id].add(class_uid)
    modalities: dict[int, set[str]] = defaultdict(set)
    series = select(HeldSeriesRow.study_id, HeldSeriesRow.series_instance_uid, HeldSeriesRow.modality)
    for study_id, series_uid, modality in session.execute(series.where(HeldSeriesRow.study_id.in_(study_ids))):
        if modality and series_uid in instances[study_id]:
            modalities[study_id].add(modality)
    return {
        study_id: Contents(dict(counts), frozenset(modalities[study_id]), frozenset(classes[study_id]))
        for study_id, counts in instances.items()
    }


def of_patients(session: Session, patient_ids: Iterable[str]) -> dict[str, Totals]:
    """Return how much is held of patients, by their IDs; one without an ID is nobody."""
    return {patient_id: _of_patient(session, patient_id) for patient_id in set(patient_ids) if patient_id}


def _of_patient(session: Session, patient_id: str) -> Totals:
    query = select(HeldStudyRow.study_id).where(HeldStudyRow.patient_id == patient_id).limit(_MOST_OF_PATIENT)
    found = contents(session, session.scalars(query).all()).values()
    return Totals(
        studies=len(found),
        series=sum(len(one.instances) for one in found),
        instances=sum(sum(one.instances.values()) for one in found),
    )


def _received(study_ids: Collection[int]) -> Select[int, str, str, int]:
    columns = (InstanceRow.study_id, InstanceRow.series_instance_uid, InstanceRow.sop_class_uid)
    return (
        select(*columns, func.count()).where(InstanceRow.study_id.in_(study_ids), held.is_received()).group_by(*columns)
    )


def _written(study_ids: Collection[int]) -> Select[int, str, str, int]:
    columns = (ResultObjectRow.study_id, ResultObjectRow.series_instance_uid, ResultObjectRow.sop_class_uid)
    return (
        select(*columns, func.count())
        .where(ResultObjectRow.study_id.in_(study_ids), held.is_written())
        .group_by(*columns)
    )
