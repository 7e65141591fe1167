"""The phantom as a DICOM study: a localizer, the axial FLAIR series, and the truth beside them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy import uint16
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

from phantom.head import Phantom, head_phantom
from storage.uids import deterministic_uid
from storage.volumes import Geometry

_SLOPE = 0.25
_STUDY_DAY = "20200101"
_STUDY_TIME = "120000"
_LOCALIZER_SLICES = 3


@dataclass(frozen=True, slots=True, eq=False)
class PhantomStudy:
    """What was written: the folders, the identifiers, and the phantom itself.

    ``sop_instance_uids[z]`` names the file that holds slice ``z``.
    """

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uids: tuple[str, ...]
    series_folder: Path
    localizer_folder: Path
    truth_path: Path
    phantom: Phantom


@dataclass(frozen=True, slots=True)
class _Series:
    """What the instances of one written series have in common."""

    seed: int
    number: int
    description: str
    image_type: tuple[str, ...]
    geometry: Geometry
    uid_parts: tuple[str, ...]

    @property
    def series_instance_uid(self) -> str:
        return deterministic_uid("phantom-series", *self.uid_parts, str(self.number))

    def sop_instance_uid(self, index: int) -> str:
        return deterministic_uid("phantom-instance", *self.uid_parts, str(self.number), str(index))


def write_phantom_study(
    out: Path, *, seed: int, oblique_degrees: float = 0.0, lesion: bool = True, slices: int = 24, size: int = 256
) -> PhantomStudy:
    """Write one head MR study below ``out``, and its truth as ``truth.npz`` outside the series folders.

    The truth holds ``mask`` (bool ``[z, y, x]``), ``spacing_mm`` (z, y, x) and ``sop_instance_uids`` for each slice.
    Equal arguments write equal files.
    """
    phantom = head_phantom(seed=seed, lesion=lesion, slices=slices, size=size, oblique_degrees=oblique_degrees)
    parts = (str(seed), f"{oblique_degrees:g}", str(lesion), str(slices), str(size))
    series = _Series(seed, 2, "AX T2 FLAIR", ("ORIGINAL", "PRIMARY", "OTHER"), phantom.geometry, parts)
    folder = out / "flair"
    uids = _write_series(folder, series, phantom.voxels)
    localizer = _write_localizer(out / "localizer", phantom, seed=seed, parts=parts)
    truth = out / "truth.npz"
    np.savez_compressed(
        truth,
        mask=phantom.mask,
        spacing_mm=np.array(phantom.geometry.spacing_mm),
        sop_instance_uids=np.array(uids),
    )
    study_uid = deterministic_uid("phantom-study", *parts)
    return PhantomStudy(study_uid, series.series_instance_uid, uids, folder, localizer, truth, phantom)


def _write_localizer(folder: Path, phantom: Phantom, *, seed: int, parts: tuple[str, ...]) -> Path:
    """Write three coarse planes, far apart, marked as a localizer."""
    chosen = np.linspace(0.25, 0.75, _LOCALIZER_SLICES) * (len(phantom.voxels) - 1)
    first, step = int(chosen[0]), max(1, int(chosen[1]) - int(chosen[0]))
    planes = phantom.voxels[first::step][:_LOCALIZER_SLICES, ::2, ::2]
    old = phantom.geometry
    z_mm, y_mm, x_mm = old.spacing_mm
    moved = np.array(old.origin_mm) + first * z_mm * np.array(old.slice_direction)
    origin = (float(moved[0]), float(moved[1]), float(moved[2]))
    spacing = (z_mm * step, y_mm * 2, x_mm * 2)
    geometry = Geometry(origin, old.row_direction, old.column_direction, old.slice_direction, spacing)
    image_type = ("ORIGINAL", "PRIMARY", "LOCALIZER")
    _write_series(folder, _Series(seed, 1, "LOCALIZER", image_type, geometry, parts), planes)
    return folder


def _write_series(folder: Path, series: _Series, voxels: NDArray[np.float32]) -> tuple[str, ...]:
    folder.mkdir(parents=True, exist_ok=True)
    stored = np.clip(np.rint(voxels / _SLOPE), 0, 4095).astype(uint16)
    uids = []
    for index, plane in enumerate(stored):
        instance = _instance(series, index)
        _set_pixels(instance, plane, top=float(stored.max()))
        instance.save_as(folder / f"{index + 1:04d}.dcm", enforce_file_format=True)
        uids.append(str(instance.SOPInstanceUID))
    return tuple(uids)


def _instance(series: _Series, index: int) -> Dataset:
    """Return the header of one slice: patient, study, series, equipment, acquisition and plane."""
    instance = Dataset()
    instance.file_meta = FileMetaDataset()
    instance.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    instance.SOPClassUID = MRImageStorage
    instance.SOPInstanceUID = series.sop_instance_uid(index)
    instance.InstanceNumber = index + 1
    _set_identity(instance, series)
    _set_acquisition(instance, series)
    _set_plane(instance, series.geometry, index)
    return instance


def _set_identity(instance: Dataset, series: _Series) -> None:
    instance.PatientName = "PHANTOM^HEAD"
    instance.PatientID = f"PHANTOM{series.seed:06d}"
    instance.PatientBirthDate = ""
    instance.PatientSex = "O"
    instance.StudyInstanceUID = deterministic_uid("phantom-study", *series.uid_parts)
    instance.StudyID = str(series.seed)
    instance.StudyDate = instance.SeriesDate = instance.ContentDate = instance.AcquisitionDate = _STUDY_DAY
    instance.StudyTime = instance.SeriesTime = instance.ContentTime = instance.AcquisitionTime = _STUDY_TIME
    instance.StudyDescription = "Phantom head MR"
    instance.AccessionNumber = f"P{series.seed}"
    instance.ReferringPhysicianName = ""
    instance.SeriesInstanceUID = series.series_instance_uid
    instance.SeriesNumber = series.number
    instance.SeriesDescription = series.description
    instance.FrameOfReferenceUID = deterministic_uid("phantom-frame", *series.uid_parts)
    instance.PositionReferenceIndicator = ""
    instance.PatientPosition = "HFS"
    instance.BodyPartExamined = "BRAIN"


def _set_acquisition(instance: Dataset, series: _Series) -> None:
    """Describe a turbo spin echo with inversion, as a FLAIR series of a 1.5 T scanner would be."""
    instance.Modality = "MR"
    instance.Manufacturer = "oncue phantom"
    instance.ManufacturerModelName = "head"
    instance.DeviceSerialNumber = "0"
    instance.SoftwareVersions = "1"
    instance.ImageType = list(series.image_type)
    instance.ScanningSequence = ["SE", "IR"]
    instance.SequenceVariant = "SK"
    instance.ScanOptions = ""
    instance.MRAcquisitionType = "2D"
    instance.AcquisitionNumber = 1
    instance.RepetitionTime = "9000"
    instance.EchoTime = "120"
    instance.InversionTime = "2500"
    instance.EchoTrainLength = "16"
    instance.MagneticFieldStrength = "1.5"


def _set_plane(instance: Dataset, geometry: Geometry, index: int) -> None:
    z_mm, y_mm, x_mm = geometry.spacing_mm
    centre = np.array(geometry.origin_mm) + index * z_mm * np.array(geometry.slice_direction)
    instance.ImagePositionPatient = [_decimal(value) for value in centre]
    instance.ImageOrientationPatient = [_decimal(v) for v in (*geometry.row_direction, *geometry.column_direction)]
    instance.PixelSpacing = [_decimal(y_mm), _decimal(x_mm)]
    instance.SliceThickness = instance.SpacingBetweenSlices = _decimal(z_mm)


def _decimal(value: float) -> str:
    """Return a decimal string of at most 16 characters (PS3.5 6.2, DS), never a negative zero."""
    return f"{round(float(value), 9) + 0.0:.10g}"


def _set_pixels(instance: Dataset, plane: NDArray[uint16], *, top: float) -> None:
    instance.SamplesPerPixel = 1
    instance.PhotometricInterpretation = "MONOCHROME2"
    instance.Rows, instance.Columns = plane.shape
    instance.BitsAllocated, instance.BitsStored, instance.HighBit = 16, 12, 11
    instance.PixelRepresentation = 0
    instance.RescaleIntercept, instance.RescaleSlope, instance.RescaleType = "0", _decimal(_SLOPE), "US"
    instance.WindowCenter = _decimal(round(top * _SLOPE * 0.35))
    instance.WindowWidth = _decimal(round(top * _SLOPE * 0.7))
    instance.PixelData = plane.astype("<u2").tobytes()
