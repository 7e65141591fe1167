"""What is asked of a source, however it is spoken to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from dicom_gateway.asking.counts import SourceCount
from dicom_gateway.fetching.source_studies import SourceStudy

Progress = Callable[[], None]
"""Called whenever something came, so that a lease can be held; what it raises ends the fetching."""


class SourceClient(Protocol):
    """One source. Threads may share it. GatewayError where it does not answer, or not as it should."""

    def studies(self, keys: Mapping[str, str]) -> list[SourceStudy]:
        """Return the studies that match keys of the STUDY level, each once."""
        ...

    def count(self, study_instance_uid: str) -> SourceCount:
        """Return how many instances it holds of a study; StudyUnknownToSource where it holds none."""
        ...

    def fetch(self, study_instance_uid: str, *, on_progress: Progress) -> None:
        """Have every instance of a study come; it returns once the source says that it has sent all that it could."""
        ...
