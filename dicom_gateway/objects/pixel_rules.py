"""What the pixels of written objects must be like: frames as promised, none empty, values that mean something."""

from __future__ import annotations

import numpy as np
from numpy import uint8
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicom_gateway.errors import ObjectInvalid


def require_voxels(dataset: Dataset) -> None:
    """Check that the frames are those promised, none of them empty, and that each segment has one."""
    frames = dataset.PerFrameFunctionalGroupsSequence
    packed = np.frombuffer(dataset.PixelData, dtype=uint8)
    voxels = dataset.Rows * dataset.Columns
    if len(frames) != dataset.NumberOfFrames or 8 * len(packed) < voxels * len(frames):
        raise ObjectInvalid("the segmentation does not hold the frames that it promises")
    if not all(_has_voxel(packed, voxels * place, voxels) for place in range(len(frames))):
        raise ObjectInvalid("the segmentation has an empty frame")
    shared = dataset.SharedFunctionalGroupsSequence[0]
    drawn = {
        int(
            (frame if "SegmentIdentificationSequence" in frame else shared)
            .SegmentIdentificationSequence[0]
            .ReferencedSegmentNumber
        )
        for frame in frames
    }
    if drawn != {int(segment.SegmentNumber) for segment in dataset.SegmentSequence}:
        raise ObjectInvalid("the segmentation has a segment without a frame")


def _has_voxel(packed: NDArray[uint8], start: int, count: int) -> bool:
    """Say whether any of some bits is set; one frame at a time, since organs in a long series have thousands."""
    first, skipped = divmod(start, 8)
    bits = np.unpackbits(packed[first : -(-(start + count) // 8)], bitorder="little")
    return bool(bits[skipped : skipped + count].any())


def require_labels(dataset: Dataset) -> None:
    """Check a label map: the frames that it promises, none of them empty, and of each segment at least one pixel."""
    voxels = dataset.Rows * dataset.Columns
    labels = np.frombuffer(dataset.PixelData, dtype=uint8)
    frames = int(dataset.NumberOfFrames)
    if len(dataset.PerFrameFunctionalGroupsSequence) != frames or not 0 <= len(labels) - voxels * frames <= 1:
        raise ObjectInvalid("the label map does not hold the frames that it promises")
    labels = labels[: voxels * frames].reshape(frames, voxels)
    if not labels.any(axis=1).all():
        raise ObjectInvalid("the label map has an empty frame")
    described = {int(segment.SegmentNumber) for segment in dataset.SegmentSequence}
    if set(np.unique(labels).tolist()) | {0} != described:
        raise ObjectInvalid("the label map has a segment without a pixel, or a pixel without a segment")


def require_colours(dataset: Dataset) -> None:
    """Check that a capture is one image of eight bits in red, green and blue."""
    if (dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.BitsAllocated) != (3, "RGB", 8):
        raise ObjectInvalid("the capture is no RGB image of eight bits")
    if not 0 <= len(dataset.PixelData) - 3 * dataset.Rows * dataset.Columns <= 1:
        raise ObjectInvalid("the capture does not hold the pixels that it promises")


def require_shares(dataset: Dataset) -> None:
    """Check that the frames are those promised, and that every value lies in 0..1 as the mapping says."""
    values = np.frombuffer(dataset.FloatPixelData, dtype="<f4")
    if len(values) != dataset.Rows * dataset.Columns * dataset.NumberOfFrames:
        raise ObjectInvalid("the parametric map does not hold the frames that it promises")
    if not ((values >= 0.0) & (values <= 1.0)).all():
        raise ObjectInvalid("the parametric map holds values outside 0 to 1")
