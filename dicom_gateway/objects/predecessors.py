"""The report that a new report replaces (PS3.3 C.17.2, Predecessor Documents Sequence)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from pydicom.dataset import Dataset

from storage.written_objects import WrittenObject


@dataclass(frozen=True, slots=True)
class PredecessorDocument:
    """The structured report of an earlier revision, by its place in the hierarchy."""

    study_instance_uid: str
    series_instance_uid: str
    sop_class_uid: str
    sop_instance_uid: str

    @classmethod
    def of(cls, study_instance_uid: str, replaced: WrittenObject | None) -> Self | None:
        """Return a written report of a study as a predecessor, or None where there is none."""
        if replaced is None:
            return None
        return cls(study_instance_uid, replaced.series_instance_uid, replaced.sop_class_uid, replaced.sop_instance_uid)

    @property
    def uids(self) -> frozenset[str]:
        """Every UID that a new report repeats of it."""
        return frozenset({self.study_instance_uid, self.series_instance_uid, self.sop_instance_uid})

    def header(self) -> Dataset:
        """Return what the report builder refers to it by."""
        header = Dataset()
        header.StudyInstanceUID = self.study_instance_uid
        header.SeriesInstanceUID = self.series_instance_uid
        header.SOPClassUID = self.sop_class_uid
        header.SOPInstanceUID = self.sop_instance_uid
        return header
