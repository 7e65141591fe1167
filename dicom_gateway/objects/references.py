"""References from a written object's frames to the source frames that they came from."""

from __future__ import annotations

from collections.abc import Sequence

from pydicom.dataset import Dataset

from dicom_gateway.objects.sources import SourceSeries
from storage.domain import FrameRef


def name_true_frames(dataset: Dataset, frames: Sequence[FrameRef], series: SourceSeries) -> None:
    """Point every reference at the real instance and frame: the builder only knew one merged header, or a flat one."""
    for group in dataset.PerFrameFunctionalGroupsSequence:
        for derivation in group.get("DerivationImageSequence", ()):
            for image in derivation.SourceImageSequence:
                frame = frames[int(image.get("ReferencedFrameNumber", 1)) - 1]
                image.ReferencedSOPClassUID = frame.sop_class_uid
                image.ReferencedSOPInstanceUID = frame.sop_instance_uid
                if frame.frame_number is not None:
                    image.ReferencedFrameNumber = frame.frame_number
    dataset.SourceImageSequence = [_reference(source) for source in series.datasets]
    dataset.ReferencedSeriesSequence[0].ReferencedInstanceSequence = [_reference(source) for source in series.datasets]


def _reference(source: Dataset) -> Dataset:
    reference = Dataset()
    reference.ReferencedSOPClassUID = source.SOPClassUID
    reference.ReferencedSOPInstanceUID = source.SOPInstanceUID
    return reference
