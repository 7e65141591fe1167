"""Ask a source by C-FIND how many images it holds of a study (PS3.4 C.4.1, Study Root).

Asked is at the SERIES level for NumberOfSeriesRelatedInstances, which tells reports from images. A source that leaves
it out, as it may (PS3.4 Table C.6-3), has its images counted one by one; one that knows no SERIES level is asked at the
STUDY level. Everything ends within one time limit, whatever the source does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pydicom.dataset import Dataset

from dicom_gateway.asking.counts import (
    MOST_IMAGES,
    MOST_SERIES,
    WHOLE_STUDY,
    SeriesCount,
    SourceCount,
    checked_number,
    checked_study,
)
from dicom_gateway.asking.finder import Finder, open_finder, query, readable
from dicom_gateway.destinations import Destination
from dicom_gateway.errors import SourceAnswerInvalid, SourceRefused, StudyUnknownToSource
from dicom_gateway.tls.destination_handshake import DestinationTls


def count_by_find(
    source: Destination,
    study_instance_uid: str,
    *,
    calling_aet: str,
    seconds: float,
    tls: DestinationTls | None = None,
) -> SourceCount:
    """Return what a source says to hold of a study.

    ``seconds`` bound connecting, and then everything else. Raises SourceSilent, SourceTooSlow, SourceRefused,
    SourceAnswerInvalid and StudyUnknownToSource.
    """
    with open_finder(source, calling_aet=calling_aet, seconds=seconds, tls=tls) as finder:
        return StudyQuestion(finder, study_instance_uid).count()


@dataclass(frozen=True, slots=True)
class StudyQuestion:
    """A study that a source is asked about."""

    finder: Finder
    study_instance_uid: str

    def count(self) -> SourceCount:
        """Return how many instances the source says to hold, by series where it knows any."""
        try:
            series = self._series()
        except SourceRefused:
            series = {}
        if not series:
            return self._whole_study()
        return {uid: self._counted(uid, one) for uid, one in series.items()}

    def _series(self) -> dict[str, SeriesCount]:
        asked = self._query("SERIES", "SeriesInstanceUID", "Modality", "NumberOfSeriesRelatedInstances")
        found: dict[str, SeriesCount] = {}
        for answer in self._answers(asked, most=MOST_SERIES):
            with readable():
                uid, modality = str(answer.get("SeriesInstanceUID", "")), str(answer.get("Modality", ""))
                found[uid] = SeriesCount(modality, checked_number(answer.get("NumberOfSeriesRelatedInstances")))
            if not uid:
                raise SourceAnswerInvalid(f"{self.finder.source} answers with a series that has no UID")
        return found

    def _counted(self, uid: str, series: SeriesCount) -> SeriesCount:
        if series.instances is not None:
            return series
        asked = self._query("IMAGE", "SOPInstanceUID")
        asked.SeriesInstanceUID = uid
        images: set[str] = set()
        for answer in self._answers(asked, most=MOST_IMAGES):
            with readable():
                images.add(str(answer.get("SOPInstanceUID", "")))
        return SeriesCount(series.modality, len(images))

    def _whole_study(self) -> SourceCount:
        for answer in self._answers(self._query("STUDY", "NumberOfStudyRelatedInstances"), most=1):
            with readable():
                number = checked_number(answer.get("NumberOfStudyRelatedInstances"))
            if number is None:
                raise SourceRefused(f"{self.finder.source} does not say how many instances it holds")
            return {WHOLE_STUDY: SeriesCount("", number)}
        raise StudyUnknownToSource(f"{self.finder.source} holds nothing of the study")

    def _query(self, level: str, *keywords: str) -> Dataset:
        return query(level, *keywords, StudyInstanceUID=self.study_instance_uid)

    def _answers(self, asked: Dataset, *, most: int) -> Iterator[Dataset]:
        for answer in self.finder.answers(asked, most=most):
            with readable():
                checked_study(str(answer.get("StudyInstanceUID", "")), self.study_instance_uid)
            yield answer
