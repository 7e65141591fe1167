"""Small valid MR series to write results on: any orientation, spacing and slice order, single-frame or enhanced."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import EnhancedMRImageStorage, ExplicitVRLittleEndian, MRImageStorage

from storage import arrays
from storage.domain import Algorithm, Analysis, Code, Finding, Presence, Priority, TriageDecision
from storage.explanations import KeptExplanation
from storage.objects import ObjectStore
from storage.uids import deterministic_uid
from storage.volumes import FrameRef, LabelMap

WRITTEN_AT = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
LESION = Code("52988006", "SCT", "Lesion")
_AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
_SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)


@dataclass(frozen=True, slots=True)
class Layout:
    """How a source series lies in the patient; ``reverse`` numbers its slices against the slice normal."""

    name: str
    orientation: tuple[float, ...] = _AXIAL
    spacing: tuple[float, float, float] = (3.0, 1.0, 1.0)
    reverse: bool = False
    enhanced: bool = False
    shape: tuple[int, int, int] = (6, 24, 20)


def _oblique() -> tuple[float, ...]:
    row = np.array([0.9, 0.3, -0.2])
    row /= np.linalg.norm(row)
    column = np.cross([0.1, -0.15, 1.0], row)
    column /= np.linalg.norm(column)
    return tuple(round(float(value), 8) for value in (*row, *column))


LAYOUTS = (
    Layout("axial"),
    Layout("oblique", orientation=_oblique()),
    Layout("reversed", reverse=True),
    Layout("sagittal", orientation=_SAGITTAL),
    Layout("anisotropic", spacing=(5.5, 0.7, 1.3)),
    Layout("enhanced", enhanced=True),
    Layout("enhanced-oblique", orientation=_oblique(), enhanced=True, reverse=True),
)


@dataclass(frozen=True, slots=True, eq=False)
class SourceStudy:
    """A stored source series, in slice order along the normal, and where its voxels lie.

    ``affine`` maps (z, y, x, 1) to patient coordinates in mm (LPS).
    """

    layout: Layout
    datasets: tuple[Dataset, ...]
    frames: tuple[FrameRef, ...]
    affine: NDArray[np.float64]

    def analysis(self, labels: NDArray[np.uint8], **changes: object) -> Analysis:
        """Return an analysis of this series that found what ``labels`` shows, or nothing where it is empty."""
        numbers = [int(number) for number in np.unique(labels) if number]
        findings = tuple(self._lesion(number, labels) for number in numbers) or (self._absence(),)
        analysis = Analysis(
            series_instance_uid=str(self.datasets[0].SeriesInstanceUID),
            input_sha256="ab" * 32,
            algorithm=Algorithm("latent-anomaly", "1.2.3", "cd" * 32, '{"steps":50,"strength":0.5}'),
            classifier=Algorithm("prototypes", "0.4.0", "ef" * 32, '{"shots":5}'),
            case_score=0.9,
            out_of_distribution=0.1,
            findings=findings,
            label_map=LabelMap(labels, self.frames) if numbers else None,
            frames=self.frames,
            decision=TriageDecision(Priority.HIGH, "rule", "01" * 32, "{}"),
            timings=(),
        )
        return replace(analysis, **changes)  # type: ignore[arg-type]  # tests name fields of Analysis

    def explained(self, objects: ObjectStore) -> Analysis:
        """Return an analysis of this series that kept an attention map of every level, ``attention()``."""
        kept = KeptExplanation(arrays.save_attention(objects, self.attention()), ())
        return self.analysis(self.lesion_labels(), explanation=kept)

    def attention(self) -> NDArray[np.uint8]:
        """Return a map in which every voxel of a small neighbourhood has a level of its own."""
        count = int(np.prod(self.layout.shape))
        return (np.arange(count) * 37 % 256).astype(np.uint8).reshape(self.layout.shape)

    def _lesion(self, number: int, labels: NDArray[np.uint8]) -> Finding:
        z, y, x = self.layout.spacing
        uid = str(self.datasets[0].SeriesInstanceUID)
        return Finding(
            number=number,
            presence=Presence.PRESENT,
            concept=LESION,
            confidence=0.8765,
            volume_ml=float((labels == number).sum()) * z * y * x / 1000.0,
            longest_diameter_mm=12.34,
            tracking_id=f"lesion-{number}",
            tracking_uid=deterministic_uid("test-tracking", uid, str(number)),
            label="low-grade glioma",
            label_probability=0.75,
        )

    def _absence(self) -> Finding:
        return Finding(0, Presence.ABSENT, LESION, 0.93, 0.0, 0.0, "", "")

    def lesion_labels(self) -> NDArray[np.uint8]:
        """Return two lesions of lopsided shape, so that no flip or transposition of the grid goes unnoticed."""
        labels = np.zeros(self.layout.shape, dtype=np.uint8)
        labels[1:4, 3:9, 5:8] = 1
        labels[1, 3:5, 8:12] = 1
        labels[4, 15:20, 12:17] = 2
        return labels


def store_study(layout: Layout, objects: ObjectStore, **attributes: object) -> SourceStudy:
    """Build a series, put it into the object store and return it; ``attributes`` override those of every instance."""
    positions, affine = _positions(layout)
    if layout.enhanced:
        datasets = [_enhanced(layout, positions)]
    else:
        datasets = [_slice(layout, index, position) for index, position in enumerate(positions)]
    for dataset in datasets:
        for keyword, value in attributes.items():
            setattr(dataset, keyword, value)
    digests = [objects.put(part10_bytes(dataset)) for dataset in datasets]
    frames = _frames(layout, datasets, digests)
    return SourceStudy(layout, tuple(datasets), frames, affine)


def part10_bytes(dataset: Dataset) -> bytes:
    """Encode a data set as a Part 10 file."""
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def _positions(layout: Layout) -> tuple[list[NDArray[np.float64]], NDArray[np.float64]]:
    """Return the slice positions along the normal, and the affine of (z, y, x, 1)."""
    z, y, x = layout.spacing
    row, column = np.array(layout.orientation[:3]), np.array(layout.orientation[3:])
    normal = np.cross(row, column)
    origin = np.array([-31.5, 12.25, 40.125])
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 2], affine[:3, 3] = normal * z, column * y, row * x, origin
    return [origin + index * z * normal for index in range(layout.shape[0])], affine


def _frames(layout: Layout, datasets: Sequence[Dataset], digests: Sequence[str]) -> tuple[FrameRef, ...]:
    """Name the planes along the normal; an enhanced instance may hold them the other way round."""
    if not layout.enhanced:
        return tuple(
            FrameRef(str(dataset.SOPInstanceUID), str(dataset.SOPClassUID), None, digest)
            for dataset, digest in zip(datasets, digests, strict=True)
        )
    numbers = range(1, layout.shape[0] + 1)
    return tuple(
        FrameRef(str(datasets[0].SOPInstanceUID), str(datasets[0].SOPClassUID), number, digests[0])
        for number in (reversed(numbers) if layout.reverse else numbers)
    )


def _common(layout: Layout, sop_class_uid: str, name: str) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = sop_class_uid
    dataset.SOPInstanceUID = deterministic_uid("test-instance", layout.name, name)
    dataset.StudyInstanceUID = deterministic_uid("test-study", layout.name)
    dataset.SeriesInstanceUID = deterministic_uid("test-series", layout.name)
    dataset.FrameOfReferenceUID = deterministic_uid("test-frame-of-reference", layout.name)
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.PatientName = "Größe^Zoë"
    dataset.PatientID = "PATIENT-17"
    dataset.PatientBirthDate = "19600102"
    dataset.PatientSex = "F"
    dataset.PatientAge = "065Y"
    dataset.StudyDate = dataset.SeriesDate = dataset.ContentDate = dataset.AcquisitionDate = "20260301"
    dataset.StudyTime = dataset.SeriesTime = dataset.ContentTime = dataset.AcquisitionTime = "101112"
    dataset.StudyID = "7"
    dataset.AccessionNumber = "ACC-4711"
    dataset.ReferringPhysicianName = ""
    dataset.TimezoneOffsetFromUTC = "+0100"
    dataset.Modality = "MR"
    dataset.Manufacturer = "Phantom Works"
    dataset.ManufacturerModelName = "Phantom"
    dataset.DeviceSerialNumber = "12"
    dataset.SoftwareVersions = "1"
    dataset.SeriesNumber = 3
    dataset.PatientPosition = "HFS"
    dataset.PositionReferenceIndicator = ""
    dataset.BodyPartExamined = "HEAD"
    dataset.Rows, dataset.Columns = layout.shape[1:]
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = 16
    dataset.BitsStored = 12
    dataset.HighBit = 11
    dataset.PixelRepresentation = 0
    return dataset


def _pixels(layout: Layout, slices: int) -> bytes:
    count = slices * layout.shape[1] * layout.shape[2]
    return (np.arange(count, dtype=np.uint16) % 1000).tobytes()


def _slice(layout: Layout, index: int, position: NDArray[np.float64]) -> Dataset:
    dataset = _common(layout, MRImageStorage, str(index))
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "OTHER"]
    dataset.InstanceNumber = layout.shape[0] - index if layout.reverse else index + 1
    dataset.AcquisitionNumber = 1
    dataset.ImagePositionPatient = _ds(position)
    dataset.ImageOrientationPatient = _ds(layout.orientation)
    dataset.PixelSpacing = list(layout.spacing[1:])
    dataset.SliceThickness = layout.spacing[0]
    dataset.ScanningSequence = "SE"
    dataset.SequenceVariant = "NONE"
    dataset.ScanOptions = ""
    dataset.MRAcquisitionType = "2D"
    dataset.RepetitionTime = 500
    dataset.EchoTime = 15
    dataset.EchoTrainLength = 1
    dataset.PixelData = _pixels(layout, 1)
    return dataset


def _enhanced(layout: Layout, positions: Sequence[NDArray[np.float64]]) -> Dataset:
    """Return an enhanced MR instance with what its geometry needs; it is no complete Enhanced MR IOD."""
    dataset = _common(layout, EnhancedMRImageStorage, "all")
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    dataset.InstanceNumber = 1
    dataset.NumberOfFrames = layout.shape[0]
    orientation, measures, shared = Dataset(), Dataset(), Dataset()
    orientation.ImageOrientationPatient = _ds(layout.orientation)
    measures.PixelSpacing = list(layout.spacing[1:])
    measures.SliceThickness = layout.spacing[0]
    shared.PixelMeasuresSequence = [measures]
    dataset.SharedFunctionalGroupsSequence = [shared]
    groups = []
    for position in reversed(positions) if layout.reverse else positions:
        plane, group = Dataset(), Dataset()
        plane.ImagePositionPatient = _ds(position)
        group.PlanePositionSequence = [plane]
        # Some scanners repeat the orientation in each frame instead of sharing it.
        group.PlaneOrientationSequence = [orientation]
        groups.append(group)
    dataset.PerFrameFunctionalGroupsSequence = groups
    dataset.PixelData = _pixels(layout, layout.shape[0])
    return dataset


def _ds(values: Sequence[float] | NDArray[np.float64]) -> list[float]:
    return [float(f"{float(value):.10g}") for value in values]
