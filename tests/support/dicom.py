"""Builders of small valid CT and MR series, of enhanced multi-frame instances, and of odd and hostile files.

The enhanced ones hold what a reader of pixels and geometry needs, not every attribute that the standard requires.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import (
    ComprehensiveSRStorage,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    EnhancedMRImageStorage,
    EnhancedPETImageStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
    PositronEmissionTomographyImageStorage,
    SecondaryCaptureImageStorage,
)

from storage.domain import StoredInstance
from storage.objects import ObjectStore
from storage.uids import deterministic_uid

AXIAL = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
_CLASSES = {
    ("CT", False): CTImageStorage,
    ("MR", False): MRImageStorage,
    ("CT", True): EnhancedCTImageStorage,
    ("MR", True): EnhancedMRImageStorage,
    ("PT", False): PositronEmissionTomographyImageStorage,
    ("PT", True): EnhancedPETImageStorage,
}


@dataclass(frozen=True, slots=True)
class SeriesPlan:
    """A series to build. ``spacing_mm`` is (z, y, x); ``directions`` are (row, column); ``key`` makes its UIDs."""

    key: str = "series"
    study: str = "study"
    modality: str = "MR"
    description: str = "AX T2 FLAIR"
    image_type: tuple[str, ...] = ("ORIGINAL", "PRIMARY", "OTHER")
    shape: tuple[int, int, int] = (6, 16, 20)
    spacing_mm: tuple[float, float, float] = (5.0, 1.0, 1.5)
    directions: tuple[tuple[float, float, float], tuple[float, float, float]] = AXIAL
    origin_mm: tuple[float, float, float] = (-12.0, -8.0, 30.0)
    patient_position: str = "HFS"
    slope: float = 1.0
    intercept: float = 0.0

    @property
    def normal(self) -> NDArray[np.float64]:
        return np.cross(*self.directions)

    def uid(self, kind: str, index: object = "") -> str:
        return deterministic_uid(f"test-{kind}", self.study, self.key, str(index))

    def position(self, z: float) -> list[float]:
        return [float(v) for v in np.array(self.origin_mm) + z * self.spacing_mm[0] * self.normal]

    def values(self) -> NDArray[np.uint16]:
        """Return stored values that are different in every voxel of a slice and between slices."""
        z, y, x = np.indices(self.shape)
        return np.asarray(100 * (z + 1) + 3 * y + x, dtype=np.uint16)


def series(plan: SeriesPlan) -> list[Dataset]:
    """Build single-frame instances, one for each slice along the normal."""
    values = plan.values()
    return [_slice(plan, z, values[z]) for z in range(plan.shape[0])]


def enhanced(plan: SeriesPlan, *, order: Sequence[int] | None = None) -> Dataset:
    """Build one enhanced multi-frame instance whose frames hold the slices in ``order``."""
    order = list(range(plan.shape[0])) if order is None else list(order)
    instance = _frame_independent(plan, plan.uid("instance", "enhanced"), _CLASSES[plan.modality, True])
    instance.ImageType = [*plan.image_type[:2], "VOLUME", "NONE"]
    instance.NumberOfFrames = len(order)
    instance.SharedFunctionalGroupsSequence = Items([_shared_groups(plan)])
    instance.PerFrameFunctionalGroupsSequence = Items([_frame_groups(plan, z) for z in order])
    set_pixels(instance, plan.values()[order])
    return instance


def _slice(plan: SeriesPlan, z: int, values: NDArray[np.uint16]) -> Dataset:
    instance = _frame_independent(plan, plan.uid("instance", z), _CLASSES[plan.modality, False])
    instance.ImageType = list(plan.image_type)
    instance.ImagePositionPatient = plan.position(z)
    instance.ImageOrientationPatient = [*plan.directions[0], *plan.directions[1]]
    instance.PixelSpacing = list(plan.spacing_mm[1:])
    instance.SliceThickness = plan.spacing_mm[0]
    instance.InstanceNumber = z + 1
    if plan.modality == "CT" or (plan.slope, plan.intercept) != (1.0, 0.0):
        instance.RescaleSlope, instance.RescaleIntercept = plan.slope, plan.intercept
    set_pixels(instance, values)
    return instance


def _frame_independent(plan: SeriesPlan, sop_instance_uid: str, sop_class_uid: str) -> Dataset:
    instance = Dataset()
    instance.file_meta = FileMetaDataset()
    instance.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    instance.SOPClassUID = sop_class_uid
    instance.SOPInstanceUID = sop_instance_uid
    instance.StudyInstanceUID = deterministic_uid("test-study", plan.study)
    instance.SeriesInstanceUID = plan.uid("series")
    instance.FrameOfReferenceUID = deterministic_uid("test-frame", plan.study)
    instance.PositionReferenceIndicator = ""
    instance.PatientName, instance.PatientID = "Doe^Test", "T1"
    instance.PatientBirthDate, instance.PatientSex = "", "O"
    instance.PatientPosition = plan.patient_position
    instance.StudyDate, instance.StudyTime, instance.StudyID = "20200101", "120000", "1"
    instance.AccessionNumber = instance.ReferringPhysicianName = ""
    instance.Modality, instance.SeriesDescription, instance.SeriesNumber = plan.modality, plan.description, 1
    instance.Manufacturer = "Test"
    instance.BodyPartExamined = "BRAIN" if plan.modality == "MR" else "CHEST"
    instance.InstanceNumber = 1
    if plan.modality == "MR":
        instance.ScanningSequence, instance.SequenceVariant = "SE", "NONE"
        instance.ScanOptions, instance.MRAcquisitionType = "", "2D"
        instance.RepetitionTime, instance.EchoTime, instance.EchoTrainLength = "9000", "120", "1"
    else:
        instance.KVP, instance.AcquisitionNumber = "120", 1
    return instance


def _shared_groups(plan: SeriesPlan) -> Dataset:
    orientation = Dataset()
    orientation.ImageOrientationPatient = [*plan.directions[0], *plan.directions[1]]
    measures = Dataset()
    measures.PixelSpacing = list(plan.spacing_mm[1:])
    measures.SliceThickness = plan.spacing_mm[0]
    groups = Dataset()
    groups.PlaneOrientationSequence = Items([orientation])
    groups.PixelMeasuresSequence = Items([measures])
    return groups


def _frame_groups(plan: SeriesPlan, z: int) -> Dataset:
    position, content, transformation = Dataset(), Dataset(), Dataset()
    position.ImagePositionPatient = plan.position(z)
    content.StackID, content.InStackPositionNumber = "1", z + 1
    transformation.RescaleSlope, transformation.RescaleIntercept = plan.slope, plan.intercept
    transformation.RescaleType = "US"
    groups = Dataset()
    groups.PlanePositionSequence = Items([position])
    groups.FrameContentSequence = Items([content])
    groups.PixelValueTransformationSequence = Items([transformation])
    return groups


def set_pixels(instance: Dataset, values: NDArray[np.uint16]) -> None:
    """Set uncompressed 16-bit pixel data and its description; ``values`` is [rows, columns] or [frames, ...]."""
    instance.SamplesPerPixel = 1
    instance.PhotometricInterpretation = "MONOCHROME2"
    instance.Rows, instance.Columns = values.shape[-2:]
    instance.BitsAllocated, instance.BitsStored, instance.HighBit = 16, 12, 11
    instance.PixelRepresentation = 0
    instance.PixelData = values.astype("<u2").tobytes()


def part10(dataset: Dataset) -> bytes:
    """Return the dataset as the bytes of a Part 10 file."""
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def compressed(dataset: Dataset, transfer_syntax_uid: str) -> Dataset:
    """Return a copy with its pixel data losslessly compressed."""
    copy = pydicom.dcmread(io.BytesIO(part10(dataset)))
    copy.compress(transfer_syntax_uid, generate_instance_uid=False)
    return copy


def put(objects: ObjectStore, content: Dataset | bytes, *, like: Dataset | None = None) -> StoredInstance:
    """Store one instance the way the gateway would; ``like`` names the identifiers of bytes that have none."""
    known = like if like is not None else content
    if not isinstance(known, Dataset):
        raise TypeError("bytes need a dataset whose identifiers they carry")
    data = part10(content) if isinstance(content, Dataset) else content
    return StoredInstance(
        study_instance_uid=str(known.StudyInstanceUID),
        series_instance_uid=str(known.SeriesInstanceUID),
        sop_instance_uid=str(known.SOPInstanceUID),
        sop_class_uid=str(known.SOPClassUID),
        transfer_syntax_uid=str(known.file_meta.TransferSyntaxUID),
        modality=str(known.Modality),
        digest=objects.put(data),
        content_sha256=hashlib.sha256(data).hexdigest(),
        size_bytes=len(data),
    )


def put_all(objects: ObjectStore, datasets: Iterable[Dataset]) -> tuple[StoredInstance, ...]:
    """Store several instances."""
    return tuple(put(objects, dataset) for dataset in datasets)


def structured_report(plan: SeriesPlan) -> Dataset:
    """Build the bare header of a report, which has no pixels."""
    report = _frame_independent(plan, plan.uid("instance", "report"), ComprehensiveSRStorage)
    report.Modality, report.CompletionFlag = "SR", "COMPLETE"
    return report


def secondary_capture(plan: SeriesPlan) -> Dataset:
    """Build a screenshot."""
    capture = series(plan)[0]
    capture.SOPClassUID = SecondaryCaptureImageStorage
    capture.SOPInstanceUID = plan.uid("instance", "capture")
    capture.ConversionType = "WSD"
    return capture


def truncated(dataset: Dataset, *, keep: float = 0.6) -> bytes:
    """Return a file that ends too early but whose header is whole."""
    content = part10(dataset)
    pixels = len(dataset.PixelData)
    return content[: len(content) - pixels + int(pixels * keep) // 2 * 2]


def shortened_pixels(dataset: Dataset) -> bytes:
    """Return a well-formed file whose PixelData is shorter than its header promises."""
    copy = pydicom.dcmread(io.BytesIO(part10(dataset)))
    copy.PixelData = copy.PixelData[: len(copy.PixelData) // 4 * 2]
    return part10(copy)


def deflated(dataset: Dataset) -> bytes:
    """Return the dataset in the deflated transfer syntax."""
    copy = pydicom.dcmread(io.BytesIO(part10(dataset)))
    copy.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    return part10(copy)


def deeply_nested(dataset: Dataset, depth: int = 3000) -> bytes:
    """Return a file whose header holds sequences inside each other, deeper than any parser's stack."""
    content = part10(dataset)
    # SharedFunctionalGroupsSequence, of undefined length, each holding one item of undefined length.
    opening = bytes.fromhex("00522992") + b"SQ\0\0" + b"\xff" * 4 + bytes.fromhex("feff00e0") + b"\xff" * 4
    closing = bytes.fromhex("feff0de000000000") + bytes.fromhex("feffdde000000000")
    at = content.index(bytes.fromhex("e07f1000") + b"OW")
    return content[:at] + opening * depth + closing * depth + content[at:]


MALFORMED: dict[str, Callable[[Dataset], bytes]] = {
    "empty": lambda _dataset: b"",
    "text": lambda _dataset: b"this is not a DICOM file\n" * 40,
    "preamble only": lambda _dataset: bytes(128) + b"DICM",
    "cut inside the header": lambda dataset: part10(dataset)[:400],
    "deflated": deflated,
}
"""Files whose header cannot be read, each from a valid dataset."""
