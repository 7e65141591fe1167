"""Images that have no place in the patient: radiographs, mammograms, ultrasound, secondary captures.

They carry a segmentation all the same. Its one plane is bound to its source by the Derivation Image macro instead of a
position, and it has no frame of reference (PS3.3 A.51.3 and C.7.6.16.2.6).
"""

from __future__ import annotations

from collections.abc import Sequence

from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from dicom_gateway.errors import SourceUnusable
from dicom_gateway.objects.planes import plane_headers
from dicom_gateway.objects.sources import SourceSeries, reference_header
from storage.volumes import FrameRef


def is_flat(series: SourceSeries, frames: Sequence[FrameRef]) -> bool:
    """Say whether the frames are one image that does not say where in the patient it lies, or how thick it is."""
    if len(frames) != 1 or frames[0].sop_instance_uid not in series.by_uid():
        return False
    try:
        plane_headers(series, frames)
    except SourceUnusable:
        return True
    return False


def orient(dataset: Dataset, source: Dataset) -> None:
    """Say which way rows and columns run, as its source does: nothing else would (PS3.3 C.7.6.1.1.1)."""
    dataset.PatientOrientation = source.get("PatientOrientation", "")


def flat_header(series: SourceSeries, frame: FrameRef) -> Dataset:
    """Return the builder header of a flat image.

    It calls itself a secondary capture, whatever it is: the one kind of image of which the builder expects neither a
    frame of reference nor functional groups. ``name_true_frames`` puts the references right. It has no pixel spacing:
    readers take Pixel Measures without a slice thickness for an error, and the source says what is known.
    """
    source = series.by_uid()[frame.sop_instance_uid]
    header = reference_header(source)
    del header.SOPClassUID  # the element is the source's own, and must not change
    header.SOPClassUID = SecondaryCaptureImageStorage
    header.Rows, header.Columns = int(source.Rows), int(source.Columns)
    return header
