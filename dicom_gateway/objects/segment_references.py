"""How measurement groups of a report refer to the segments of a written segmentation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from highdicom.sr import (
    PlanarROIMeasurementsAndQualitativeEvaluations,
    ReferencedSegment,
    ReferencedSegmentationFrame,
    SourceImageForSegmentation,
    SourceSeriesForSegmentation,
    VolumetricROIMeasurementsAndQualitativeEvaluations,
)
from pydicom.dataset import Dataset

from dicom_gateway.errors import ObjectInvalid
from dicom_gateway.objects.sources import SourceSeries

SegmentGroup = PlanarROIMeasurementsAndQualitativeEvaluations | VolumetricROIMeasurementsAndQualitativeEvaluations


@dataclass(frozen=True, slots=True, eq=False)
class SegmentReferences:
    """Refers to the segments of a segmentation that was drawn on a series."""

    segmentation: Dataset
    series: SourceSeries

    def group(self, number: int, *, in_space: bool) -> Callable[..., SegmentGroup]:
        """Return what builds the group of a segment: TID 1411 of one in space, TID 1410 of one in a flat image.

        ObjectInvalid where one of a flat image is said to have a volume.
        """
        if in_space and not self.segmentation.get("FrameOfReferenceUID"):
            raise ObjectInvalid("a segment in a flat image claims a volume; its extent must be AREA or UNKNOWN")
        frames = [] if in_space else self._frames(number)
        if len(frames) == 1:
            frame = self._frame(number, frames[0])
            return partial(PlanarROIMeasurementsAndQualitativeEvaluations, referenced_segment=frame)
        return partial(VolumetricROIMeasurementsAndQualitativeEvaluations, referenced_segment=self._segment(number))

    def _frames(self, segment: int) -> list[int]:
        """Return the frames of the segmentation, from 1, that show a segment."""
        shared = self.segmentation.SharedFunctionalGroupsSequence[0]
        return [
            number
            for number, own in enumerate(self.segmentation.PerFrameFunctionalGroupsSequence, start=1)
            if (own if "SegmentIdentificationSequence" in own else shared)
            .SegmentIdentificationSequence[0]
            .ReferencedSegmentNumber
            == segment
        ]

    def _segment(self, number: int) -> ReferencedSegment:
        return ReferencedSegment(
            sop_class_uid=self.segmentation.SOPClassUID,
            sop_instance_uid=self.segmentation.SOPInstanceUID,
            segment_number=number,
            source_series=SourceSeriesForSegmentation(str(self.series.first.SeriesInstanceUID)),
        )

    def _frame(self, segment: int, number: int) -> ReferencedSegmentationFrame:
        frame = self.segmentation.PerFrameFunctionalGroupsSequence[number - 1]
        source = frame.DerivationImageSequence[0].SourceImageSequence[0]
        reference = ReferencedSegmentationFrame(
            sop_class_uid=self.segmentation.SOPClassUID,
            sop_instance_uid=self.segmentation.SOPInstanceUID,
            frame_number=number,
            segment_number=segment,
            source_image=SourceImageForSegmentation(
                source.ReferencedSOPClassUID,
                source.ReferencedSOPInstanceUID,
                [source.ReferencedFrameNumber] if "ReferencedFrameNumber" in source else None,
            ),
        )
        # A frame belongs to one segment, and a reference names either (PS3.3 C.18.4).
        del reference[0].ReferencedSOPSequence[0].ReferencedSegmentNumber
        return reference
