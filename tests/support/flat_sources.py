"""Images without a place in the patient to write results on: radiographs, mammograms, ultrasound, captures."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DigitalMammographyXRayImageStorageForPresentation,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
    UltrasoundImageStorage,
    XRayAngiographicImageStorage,
)

from storage.domain import Algorithm, Analysis, Finding, Presence, Priority, TriageDecision
from storage.explanations import Prediction
from storage.objects import ObjectStore
from storage.uids import deterministic_uid
from storage.volumes import Extent, FrameRef, LabelMap
from tests.support.sources import LESION, part10_bytes

SHAPE = (1, 24, 20)


@dataclass(frozen=True, slots=True)
class FlatPlan:
    """An image to build: what its modality adds, what is known of its size, and whether it names its only frame."""

    name: str
    sop_class_uid: str
    modality: str
    extent: Extent
    details: Callable[[Dataset], None]
    frame_number: int | None = None
    attributes: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class FlatSource:
    """A stored image, and analyses of it."""

    plan: FlatPlan
    dataset: Dataset
    frames: tuple[FrameRef, ...]

    def analysis(self, labels: NDArray[np.uint8]) -> Analysis:
        """Return an analysis that found what ``labels`` shows."""
        numbers = [int(number) for number in np.unique(labels) if number]
        findings = tuple(self._lesion(number, labels) for number in numbers)
        return self._analysis(findings, LabelMap(labels, self.frames))

    def assessment(self, prediction: Prediction | None = None, **given: object) -> Analysis:
        """Return an analysis that gave the whole image a label; ``given`` are fields of its finding."""
        finding = Finding(0, Presence.ASSESSED, LESION, 0.0, 0.0, 0.0, "", "", prediction=prediction)
        finding = replace(finding, extent=self.plan.extent, **given)  # type: ignore[arg-type]  # tests name fields of Finding
        return self._analysis((finding,), None)

    def _analysis(self, findings: tuple[Finding, ...], label_map: LabelMap | None) -> Analysis:
        return Analysis(
            series_instance_uid=str(self.dataset.SeriesInstanceUID),
            input_sha256=hashlib.sha256(self.plan.name.encode()).hexdigest(),
            algorithm=Algorithm("latent-anomaly", "1.2.3", "cd" * 32, "{}"),
            classifier=Algorithm("prototypes", "0.4.0", "ef" * 32, '{"shots":5}'),
            case_score=0.9,
            out_of_distribution=0.0,
            findings=findings,
            label_map=label_map,
            frames=self.frames,
            decision=TriageDecision(Priority.HIGH, "rule", "01" * 32, "{}"),
            timings=(),
        )

    def _lesion(self, number: int, labels: NDArray[np.uint8]) -> Finding:
        measured = self.plan.extent is Extent.AREA
        return Finding(
            number=number,
            presence=Presence.PRESENT,
            concept=LESION,
            confidence=0.75,
            volume_ml=0.0,
            longest_diameter_mm=12.5 if measured else 0.0,
            tracking_id=f"lesion-{number}",
            tracking_uid=deterministic_uid("test-tracking", self.plan.name, str(number)),
            extent=self.plan.extent,
            area_mm2=float((labels == number).sum()) * 0.25 if measured else 0.0,
        )


def lesion_labels() -> NDArray[np.uint8]:
    """Return two lesions of lopsided shape, so that no flip or transposition of the image goes unnoticed."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[0, 3:9, 5:8] = 1
    labels[0, 3:5, 8:12] = 1
    labels[0, 15:20, 12:17] = 2
    return labels


def store_flat(plan: FlatPlan, objects: ObjectStore, **attributes: object) -> FlatSource:
    """Build an image, put it into the object store and return it; ``attributes`` override its own, None removes one."""
    dataset = _image(plan)
    plan.details(dataset)
    for keyword, value in ({**plan.attributes, **attributes}).items():
        if value is not None:
            setattr(dataset, keyword, value)
        elif keyword in dataset:
            delattr(dataset, keyword)
    digest = objects.put(part10_bytes(dataset))
    frame = FrameRef(str(dataset.SOPInstanceUID), plan.sop_class_uid, plan.frame_number, digest)
    return FlatSource(plan, dataset, (frame,))


def _image(plan: FlatPlan) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = plan.sop_class_uid
    dataset.SOPInstanceUID = deterministic_uid("test-flat-instance", plan.name)
    dataset.StudyInstanceUID = deterministic_uid("test-flat-study", plan.name)
    dataset.SeriesInstanceUID = deterministic_uid("test-flat-series", plan.name)
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.PatientName, dataset.PatientID = "Größe^Zoë", "PATIENT-17"
    dataset.PatientBirthDate, dataset.PatientSex = "19600102", "F"
    dataset.StudyDate = dataset.ContentDate = dataset.AcquisitionDate = "20260301"
    dataset.StudyTime = dataset.ContentTime = dataset.AcquisitionTime = "101112"
    dataset.StudyID, dataset.AccessionNumber, dataset.ReferringPhysicianName = "7", "ACC-4711", ""
    dataset.Modality, dataset.SeriesNumber, dataset.InstanceNumber = plan.modality, 3, 1
    dataset.Manufacturer, dataset.ManufacturerModelName = "Phantom Works", "Phantom"
    dataset.DeviceSerialNumber, dataset.SoftwareVersions = "12", "1"
    dataset.PatientOrientation = ["L", "F"]
    dataset.Laterality = ""
    _set_pixels(dataset, samples=1)
    return dataset


def _set_pixels(dataset: Dataset, *, samples: int) -> None:
    dataset.Rows, dataset.Columns = SHAPE[1:]
    dataset.SamplesPerPixel = samples
    dataset.PhotometricInterpretation = "MONOCHROME2" if samples == 1 else "RGB"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.PixelRepresentation = 0
    if samples > 1:
        dataset.PlanarConfiguration = 0
    dataset.PixelData = bytes(value % 251 for value in range(SHAPE[1] * SHAPE[2] * samples))


def _radiograph(dataset: Dataset) -> None:
    dataset.BodyPartExamined, dataset.ViewPosition = "CHEST", "PA"
    dataset.PixelSpacing = [0.5, 0.5]


def _digital_radiograph(dataset: Dataset) -> None:
    dataset.BodyPartExamined, dataset.ImageLaterality = "HAND", "R"
    dataset.PresentationIntentType = "FOR PRESENTATION"
    dataset.ImagerPixelSpacing = [0.5, 0.5]
    del dataset.Laterality


def _mammogram(dataset: Dataset) -> None:
    region = Dataset()
    region.CodeValue, region.CodingSchemeDesignator, region.CodeMeaning = "T-04000", "SRT", "Breast"
    dataset.AnatomicRegionSequence = [region]
    dataset.BodyPartExamined, dataset.ImageLaterality = "BREAST", "L"
    dataset.PatientOrientation = ["A", "FR"]
    dataset.ImagerPixelSpacing = [0.5, 0.5]
    del dataset.Laterality


def _ultrasound(dataset: Dataset) -> None:
    region = Dataset()
    region.RegionSpatialFormat, region.RegionDataType, region.RegionFlags = 1, 1, 0
    region.RegionLocationMinX0, region.RegionLocationMinY0 = 0, 0
    region.RegionLocationMaxX1, region.RegionLocationMaxY1 = SHAPE[2] - 1, SHAPE[1] - 1
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
    region.PhysicalDeltaX = region.PhysicalDeltaY = 0.05
    dataset.SequenceOfUltrasoundRegions = [region]
    dataset.ImageType = ["ORIGINAL", "PRIMARY"]
    del dataset.PatientOrientation
    dataset.Laterality = "L"
    dataset.BodyPartExamined = "BREAST"
    _set_pixels(dataset, samples=3)


def _angiogram(dataset: Dataset) -> None:
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "SINGLE PLANE"]
    dataset.ImagerPixelSpacing = [0.5, 0.5]
    dataset.PixelIntensityRelationship = "LOG"


def _capture(dataset: Dataset) -> None:
    """Leave out what a frame grabber does not know."""
    for keyword in ("PatientOrientation", "Laterality", "ManufacturerModelName", "DeviceSerialNumber"):
        delattr(dataset, keyword)
    for keyword in ("PatientBirthDate", "PatientSex", "StudyID", "AccessionNumber", "ReferringPhysicianName"):
        delattr(dataset, keyword)
    del dataset.SpecificCharacterSet
    dataset.PatientName = "Doe^Zoe"
    dataset.ConversionType = "SI"


_FRAME_OF_REFERENCE = {"FrameOfReferenceUID": "2.25.4711", "PositionReferenceIndicator": ""}
CR = FlatPlan("CR", ComputedRadiographyImageStorage, "CR", Extent.AREA, _radiograph)
DX = FlatPlan("DX", DigitalXRayImageStorageForPresentation, "DX", Extent.AREA, _digital_radiograph)
MG = FlatPlan(
    "MG", DigitalMammographyXRayImageStorageForPresentation, "MG", Extent.AREA, _mammogram, None, _FRAME_OF_REFERENCE
)
US = FlatPlan("US", UltrasoundImageStorage, "US", Extent.AREA, _ultrasound)
XA = FlatPlan("XA", XRayAngiographicImageStorage, "XA", Extent.AREA, _angiogram)
XA_FRAME = FlatPlan("XA-frame", XRayAngiographicImageStorage, "XA", Extent.AREA, _angiogram, 1, {"NumberOfFrames": 1})
SC = FlatPlan("SC", SecondaryCaptureImageStorage, "US", Extent.UNKNOWN, _capture)
FLAT_PLANS = (CR, DX, MG, US, XA, XA_FRAME, SC)
