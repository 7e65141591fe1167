"""What came of one demonstrated study, and what of it the PACS holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from highdicom.seg import Segmentation
from numpy import bool_
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage, SegmentationStorage

from storage.states import StudyState
from storage.study_record import Dossier


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """What the phantom holds: the lesion bool ``[z, y, x]``, and the file of each slice."""

    mask: NDArray[bool_]
    sop_instance_uids: tuple[str, ...]
    series_folder: Path

    @classmethod
    def read(cls, path: Path, *, series_folder: Path) -> Truth:
        """Read a ``truth.npz`` that `oncue phantom` wrote."""
        with np.load(path, allow_pickle=False) as archive:
            return cls(archive["mask"], tuple(str(uid) for uid in archive["sop_instance_uids"]), series_folder)


@dataclass(frozen=True, slots=True, eq=False)
class DemonstratedStudy:
    """One study: what the database says of it, and the objects that the PACS received for it.

    ``unwanted``: it was sent to be set aside.
    """

    dossier: Dossier
    segmentation: Dataset | None
    report: Dataset | None
    dice: float | None
    mask: NDArray[bool_] | None
    unwanted: bool = False

    @property
    def is_set_aside(self) -> bool:
        """Whether no route wants the study."""
        return self.dossier.entry.state is StudyState.NOT_APPLICABLE

    @property
    def is_success(self) -> bool:
        """Whether the study ended as it should.

        Either with a report in the PACS, and with a segmentation where something was found; or with a result that its
        route withholds; or set aside, unless it is a phantom whose lesion is known.
        """
        if self.unwanted or self.is_set_aside:
            return self.is_set_aside and self.dice is None
        if self.dossier.result is not None and self.dossier.result.withheld:
            return True
        found = any(finding.number for finding in self.dossier.result.findings) if self.dossier.result else False
        arrived = self.report is not None and (self.segmentation is not None or not found)
        # A phantom always holds a lesion: not to find any of it is a failure of the demonstration.
        return arrived and (self.dice is None or self.dice > 0)


def judge(
    dossier: Dossier, objects: Sequence[Dataset], truth: Truth | None, *, unwanted: bool = False
) -> DemonstratedStudy:
    """Pick out what the PACS holds for a study, and measure the segmentation that it received against the truth."""
    mine = [item for item in objects if item.StudyInstanceUID == dossier.entry.study_instance_uid]
    segmentation = next((item for item in mine if item.SOPClassUID == SegmentationStorage), None)
    report = next((item for item in mine if item.SOPClassUID == Comprehensive3DSRStorage), None)
    if truth is None or (dossier.result is not None and dossier.result.withheld):
        return DemonstratedStudy(dossier, segmentation, report, None, None, unwanted)
    mask = _mask(segmentation, truth)
    return DemonstratedStudy(dossier, segmentation, report, dice(mask, truth.mask), mask)


def dice(found: NDArray[bool_], truth: NDArray[bool_]) -> float:
    """Return twice the common volume over the sum of both; 1 where both are empty."""
    total = int(found.sum()) + int(truth.sum())
    return 2.0 * int((found & truth).sum()) / total if total else 1.0


def _mask(segmentation: Dataset | None, truth: Truth) -> NDArray[bool_]:
    """Return all segments together on the phantom's grid, slice by slice through the images that they refer to."""
    if segmentation is None:
        return np.zeros_like(truth.mask)
    pixels = Segmentation.from_dataset(segmentation).get_pixels_by_source_instance(
        list(truth.sop_instance_uids), assert_missing_frames_are_empty=True, ignore_spatial_locations=True
    )
    return np.asarray(pixels.any(axis=-1), dtype=bool)
