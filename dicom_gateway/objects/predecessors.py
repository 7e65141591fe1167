"""The report that a new report replaces (PS3.3 C.17.2, Predecessor Documents Sequence)."""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.dataset import Dataset


@dataclass(frozen=True, slots=True)
class PredecessorDocument:
    """The structured report of an earlier revision, by its place in the hierarchy."""

    study_instance_uid: str
    series_instance_uid: str
    sop_class_uid: str
    sop_instance_uid: str

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
