"""References from a written object's frames to the source frames that they came from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from highdicom.sr import CodedConcept
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code as DicomCode

from dicom_gateway.objects.sources import SourceSeries
from storage.volumes import FrameRef


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


def frame_reference(frame: FrameRef, purpose: DicomCode | None = None) -> Dataset:
    """Refer to one frame, or to the single-frame image that it is, with the purpose of doing so (PS3.3 10.3)."""
    reference = Dataset()
    reference.ReferencedSOPClassUID = frame.sop_class_uid
    reference.ReferencedSOPInstanceUID = frame.sop_instance_uid
    if frame.frame_number is not None:
        reference.ReferencedFrameNumber = frame.frame_number
    if purpose is not None:
        reference.PurposeOfReferenceCodeSequence = [CodedConcept.from_code(purpose)]
    return reference


def frames_by_instance(frames: Iterable[FrameRef]) -> dict[tuple[str, str], list[int]]:
    """Return the numbers of the frames by SOP class and instance; an empty list for a single-frame image."""
    numbers: dict[tuple[str, str], list[int]] = {}
    for frame in frames:
        of_instance = numbers.setdefault((frame.sop_class_uid, frame.sop_instance_uid), [])
        if frame.frame_number is not None:
            of_instance.append(frame.frame_number)
    return {instance: sorted(set(those)) for instance, those in numbers.items()}


def image_references(frames: Iterable[FrameRef]) -> list[Dataset]:
    """Refer to each instance once, with the frames of it that are meant where it has several (PS3.3 10.3)."""
    references = []
    for (sop_class_uid, sop_instance_uid), numbers in frames_by_instance(frames).items():
        reference = Dataset()
        reference.ReferencedSOPClassUID = sop_class_uid
        reference.ReferencedSOPInstanceUID = sop_instance_uid
        if numbers:
            reference.ReferencedFrameNumber = numbers if len(numbers) > 1 else numbers[0]
        references.append(reference)
    return references


def _reference(source: Dataset) -> Dataset:
    reference = Dataset()
    reference.ReferencedSOPClassUID = source.SOPClassUID
    reference.ReferencedSOPInstanceUID = source.SOPInstanceUID
    return reference
