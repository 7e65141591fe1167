"""How many images a source holds of a study, as its answers to C-FIND and QIDO-RS say it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from dicom_gateway.errors import SourceAnswerInvalid

MOST_SERIES = 2_000
MOST_IMAGES = 100_000
WHOLE_STUDY = ""
"""Key of a count that says nothing of series."""

# fmt: off
_WITHOUT_IMAGES = frozenset({
    "ANN", "ASMT", "AU", "CTPROTOCOL", "DOC", "ECG", "EPS", "FID", "HD", "KO", "M3D", "PLAN", "PR", "REG", "RESP",
    "RTDOSE", "RTINTENT", "RTPLAN", "RTRAD", "RTRECORD", "RTSEGANN", "RTSTRUCT", "RWV", "SEG", "SMR", "SR", "SRF",
    "STAIN", "TEXTUREMAP", "TG", "XAPROTOCOL",
})
# fmt: on
"""Modalities (PS3.3 C.7.3.1.1.1) whose instances have no images of their own: nobody has to wait for them."""


@dataclass(frozen=True, slots=True)
class SeriesCount:
    """One series at a source; ``instances`` is None where the source does not say how many it holds."""

    modality: str
    instances: int | None


SourceCount: TypeAlias = Mapping[str, SeriesCount]
"""What one source holds of a study, by Series Instance UID, or under WHOLE_STUDY alone."""


def images(counts: Iterable[SourceCount], *, without: frozenset[str]) -> int:
    """Return how many images sources hold of a study together; ``without`` are series that oncue wrote itself."""
    of_series: dict[str, int] = {}
    for count in counts:
        for uid, one in count.items():
            if uid not in without and one.modality not in _WITHOUT_IMAGES:
                of_series[uid] = max(of_series.get(uid, 0), one.instances or 0)
    whole = of_series.pop(WHOLE_STUDY, 0)
    return max(whole, sum(of_series.values()))


def checked_number(value: object) -> int | None:
    """Return a number of instances, None for an empty value; SourceAnswerInvalid for what can be none."""
    if value is None or value == "":
        return None
    try:
        number = int(str(value))
    except ValueError as error:
        raise SourceAnswerInvalid("the source gives a number of instances that is no number") from error
    if not 0 <= number <= MOST_IMAGES:
        raise SourceAnswerInvalid(f"the source claims {number} instances; no study has more than {MOST_IMAGES:,}")
    return number


def checked_study(found: str, asked: str) -> None:
    """Raise SourceAnswerInvalid for an answer about another study; one that names none is about ours."""
    if found and found != asked:
        raise SourceAnswerInvalid("the source answers about another study than it was asked about")
