"""Ask a source by QIDO-RS how many images it holds of a study (PS3.18 10.6)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from urllib.parse import quote

from dicom_gateway.asking.counts import (
    MOST_IMAGES,
    MOST_SERIES,
    SeriesCount,
    SourceCount,
    checked_number,
    checked_study,
)
from dicom_gateway.asking.web_client import WebClient
from dicom_gateway.errors import SourceAnswerInvalid, StudyUnknownToSource
from dicom_gateway.http_exchange import Deadline
from storage.attributes import Attributes

_STUDY, _SERIES, _MODALITY, _INSTANCES = "0020000D", "0020000E", "00080060", "00201209"


def count_by_qido(service: WebClient, study_instance_uid: str, *, seconds: float) -> SourceCount:
    """Return what a DICOMweb service says to hold of a study.

    ``seconds`` bound everything that is asked for that. Raises StudyUnknownToSource, and errors as of
    ``WebClient.listed``. A service that leaves the numbers of instances out has its instances listed.
    """
    deadline = Deadline(seconds)
    study = f"/studies/{quote(study_instance_uid, safe='')}"
    fields = [("includefield", _MODALITY), ("includefield", _INSTANCES), ("limit", str(MOST_SERIES))]
    answers = service.listed(f"{study}/series", fields, deadline=deadline)
    found = dict(map(_series, _of(study_instance_uid, answers)))
    if not found:
        raise StudyUnknownToSource(f"{service.address} holds nothing of the study")
    if all(one.instances is not None for one in found.values()):
        return found
    instances = service.listed(f"{study}/instances", [("limit", str(MOST_IMAGES))], deadline=deadline)
    numbers = Counter(one.value(_SERIES) for one in _of(study_instance_uid, instances))
    return {
        uid: one if one.instances is not None else SeriesCount(one.modality, numbers[uid]) for uid, one in found.items()
    }


def _of(study: str, answers: Iterable[Attributes]) -> Iterator[Attributes]:
    """Yield answers that are about a study; SourceAnswerInvalid for one that is about another."""
    for one in answers:
        checked_study(one.value(_STUDY), study)
        yield one


def _series(answer: Attributes) -> tuple[str, SeriesCount]:
    uid = answer.value(_SERIES)
    if not uid:
        raise SourceAnswerInvalid("the source answers with a series that has no UID")
    return uid, SeriesCount(answer.value(_MODALITY), checked_number(answer.value(_INSTANCES)))
