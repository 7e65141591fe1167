"""What a source answers of its studies, checked: UIDs that are UIDs, numbers that are numbers, each study once."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from dicom_gateway.asking.counts import checked_number
from dicom_gateway.errors import SourceAnswerInvalid
from storage.uids import is_uid

MOST_STUDIES = 5_000
_DATE = re.compile(r"\d{8}")


@dataclass(frozen=True, slots=True)
class SourceStudy:
    """One study that a source lists. ``stated`` is None where it does not say how many instances it holds.

    ``study_date`` is empty where it is none; ``modalities`` are empty where it does not say.
    """

    study_instance_uid: str
    stated: int | None = None
    study_date: str = ""
    modalities: frozenset[str] = frozenset()


def checked(uid: str, stated: object, study_date: str, modalities: Iterable[str]) -> SourceStudy:
    """Return an answer as a study; SourceAnswerInvalid for one that names none."""
    if not is_uid(uid):
        raise SourceAnswerInvalid("the source lists a study whose UID is none: 1 to 64 digits and dots")
    date = study_date if _DATE.fullmatch(study_date) else ""
    return SourceStudy(uid, checked_number(stated), date, frozenset(one.strip() for one in modalities if one.strip()))


def each_once(studies: Iterable[SourceStudy]) -> list[SourceStudy]:
    """Return each study once, the answer that states most of it; the order of the answers stays."""
    found: dict[str, SourceStudy] = {}
    for study in studies:
        known = found.get(study.study_instance_uid)
        if known is None or (study.stated or 0) > (known.stated or 0):
            found[study.study_instance_uid] = study
    return list(found.values())
