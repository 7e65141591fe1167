"""Earlier studies of a patient: which of a source's studies are fetched when one arrives."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from dicom_gateway.fetching.source_studies import SourceStudy


@dataclass(frozen=True, slots=True)
class Arrived:
    """A study that arrived, for which priors are looked for; ``modalities`` are those of its images."""

    study_instance_uid: str
    study_date: str
    modalities: frozenset[str]


def chosen(offered: Iterable[SourceStudy], arrived: Arrived, *, most: int) -> list[SourceStudy]:
    """Return the latest studies before the one that arrived, at most ``most``, those of its modalities alone.

    A study without a date may be a later one and is left out, and so are those of the day itself but for dates: they
    belong to the same visit. One that does not say its modalities is taken: it may be one of them.
    """
    earlier = [
        study
        for study in offered
        if study.study_instance_uid != arrived.study_instance_uid
        and study.study_date
        and (not arrived.study_date or study.study_date < arrived.study_date)
        and (not study.modalities or not arrived.modalities or not study.modalities.isdisjoint(arrived.modalities))
    ]
    return sorted(earlier, key=lambda study: study.study_date, reverse=True)[:most]
