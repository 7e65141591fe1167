"""A source that is spoken to by DIMSE: asked by C-FIND, its images come by C-MOVE or C-GET (PS3.4 Annex C)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from dicom_gateway.asking.counts import SourceCount
from dicom_gateway.asking.find import count_by_find
from dicom_gateway.asking.finder import open_finder, query, readable
from dicom_gateway.destinations import Destination
from dicom_gateway.fetching.retrieving import Retrieval
from dicom_gateway.fetching.source_client import Progress
from dicom_gateway.fetching.source_studies import MOST_STUDIES, SourceStudy, checked, each_once
from dicom_gateway.tls.destination_handshake import DestinationTls

_ASKED = ("StudyInstanceUID", "StudyDate", "ModalitiesInStudy", "NumberOfStudyRelatedInstances")


@dataclass(frozen=True, slots=True)
class DimseSource:
    """A source at an address; ``seconds`` bound each question, ``retrieval`` is how its images come."""

    address: Destination
    calling_aet: str
    seconds: float
    tls: DestinationTls | None
    retrieval: Retrieval

    def studies(self, keys: Mapping[str, str]) -> list[SourceStudy]:
        """Return the studies that match keys of the STUDY level, each once."""
        asked = query("STUDY", *_ASKED, **keys)
        with open_finder(self.address, calling_aet=self.calling_aet, seconds=self.seconds, tls=self.tls) as finder:
            return each_once(_study(answer) for answer in finder.answers(asked, most=MOST_STUDIES))

    def count(self, study_instance_uid: str) -> SourceCount:
        """Return how many instances it holds of a study."""
        return count_by_find(
            self.address, study_instance_uid, calling_aet=self.calling_aet, seconds=self.seconds, tls=self.tls
        )

    def fetch(self, study_instance_uid: str, *, on_progress: Progress) -> None:
        """Have every instance of a study come."""
        self.retrieval.retrieve(study_instance_uid, on_progress=on_progress)


def _study(answer: Dataset) -> SourceStudy:
    with readable():
        modalities = answer.get("ModalitiesInStudy") or ""
        several = list(modalities) if isinstance(modalities, MultiValue) else [str(modalities)]
        return checked(
            str(answer.get("StudyInstanceUID", "")),
            answer.get("NumberOfStudyRelatedInstances"),
            str(answer.get("StudyDate") or ""),
            map(str, several),
        )
