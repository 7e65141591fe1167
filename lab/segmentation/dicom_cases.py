"""DICOM series with a segmentation (SEG) of their own: the expert's mask in the patient's coordinates.

Series are read as the pipeline reads them; the objects are linked, not copied, into a store that lives as long as the
reading. Every SEG below the folder counts as truth, and its segments are taken together.
"""

from __future__ import annotations

import hashlib
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from highdicom import VolumeGeometry
from highdicom.seg import segread
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID, SegmentationStorage

from lab.cases import LabelledCase
from lab.errors import UnreadableCase
from storage.domain import StoredInstance
from storage.objects import ObjectStore
from storage.volumes import Volume
from workers.errors import WorkerError
from workers.imaging.instances import read_headers
from workers.imaging.series import SelectionRules, choose_series
from workers.imaging.volumes import build_volume

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LABEL_MAP_SEGMENTATION = UID("1.2.840.10008.5.1.4.1.1.66.7")
_SEGMENTATIONS = frozenset({SegmentationStorage, _LABEL_MAP_SEGMENTATION})
_KEYWORDS = (
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "Modality",
    "PatientID",
    "ReferencedSeriesSequence",
)
_GRID_TOLERANCE = 1e-3
_SHORT_UID = 12
_HALF = 0.5


@dataclass(frozen=True, slots=True)
class _File:
    """One DICOM file and what its header says of where it belongs."""

    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    modality: str
    patient_id: str
    transfer_syntax_uid: str
    referenced_series: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DicomCase:
    """One image series and the segmentations that refer to it."""

    name: str
    patient: str
    images: tuple[_File, ...]
    segmentations: tuple[Path, ...]

    def read(self) -> LabelledCase:
        """Build the volume and bring every segmentation onto its grid."""
        try:
            volume = self._volume()
        except WorkerError as error:
            raise UnreadableCase(f"{self.name}: {error}") from error
        mask = np.zeros(volume.voxels.shape, dtype=bool)
        for path in self.segmentations:
            mask |= read_mask(path, volume)
        return LabelledCase(self.name, volume, mask, self.patient)

    def _volume(self) -> Volume:
        with _linked(self.images) as (objects, stored):
            rules = SelectionRules(modalities=frozenset(item.modality.upper() for item in stored), fewest_slices=2)
            series, _ = choose_series(read_headers(stored, objects), rules=rules)
            return build_volume(series, objects)


def find_dicom_cases(folder: Path) -> list[DicomCase]:
    """Find the image series below a folder that a segmentation refers to; other series have no truth and are left out.

    Patients are numbered in the order of their files, so that no identifier reaches the report.
    """
    files = [file for path in sorted(folder.rglob("*")) if path.is_file() and (file := _header(path))]
    patients = {patient: f"patient-{number}" for number, patient in enumerate(_distinct(files), start=1)}
    by_series: dict[str, list[_File]] = {}
    for file in files:
        by_series.setdefault(file.series_instance_uid, []).append(file)
    cases = []
    for series_uid, images in by_series.items():
        truths = tuple(file.path for file in files if series_uid in file.referenced_series)
        if truths and images[0].sop_class_uid not in _SEGMENTATIONS:
            name = _name(folder, images, by_series)
            cases.append(DicomCase(name, patients[images[0].patient_id], tuple(images), truths))
    return cases


def read_mask(path: Path, volume: Volume) -> NDArray[np.bool_]:
    """Read all segments of a SEG on the grid of ``volume``; what it leaves out is empty.

    Raises UnreadableCase where the file is broken, or lies on another grid or in another frame of reference.
    """
    grid = volume.geometry
    steps = zip((grid.slice_direction, grid.column_direction, grid.row_direction), grid.spacing_mm, strict=True)
    affine = np.eye(4)
    affine[:3, :3] = np.stack([np.array(direction) * step for direction, step in steps], axis=1)
    affine[:3, 3] = grid.origin_mm
    wanted = VolumeGeometry(affine, volume.voxels.shape, "PATIENT", volume.frame_of_reference_uid)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # departures from the standard that do not matter here
            drawn = segread(path).get_volume(combine_segments=False)
            matching = drawn.match_geometry(wanted, tol=_GRID_TOLERANCE)
    except (OSError, InvalidDicomError, AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise UnreadableCase(f"{path.name} is not a readable segmentation of a volume") from error
    except RuntimeError as error:
        raise UnreadableCase(f"{path.name} lies on another grid than the series that it refers to") from error
    return np.asarray((matching.array >= _HALF).any(axis=-1))


def _header(path: Path) -> _File | None:
    """Read what a file says of itself; None for what is no DICOM file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = dcmread(path, stop_before_pixels=True, specific_tags=list(_KEYWORDS))
            return _file(path, dataset)
    except InvalidDicomError:
        return None
    except (OSError, AttributeError, TypeError, ValueError) as error:
        raise UnreadableCase(f"{path.name} is not a readable DICOM file") from error


def _file(path: Path, dataset: Dataset) -> _File | None:
    if "SeriesInstanceUID" not in dataset or "SOPClassUID" not in dataset:
        return None
    referenced = dataset.get("ReferencedSeriesSequence") or ()
    return _File(
        path=path,
        sop_class_uid=str(dataset.SOPClassUID),
        sop_instance_uid=str(dataset.SOPInstanceUID),
        study_instance_uid=str(dataset.StudyInstanceUID),
        series_instance_uid=str(dataset.SeriesInstanceUID),
        modality=str(dataset.get("Modality", "")),
        patient_id=str(dataset.get("PatientID", "")),
        transfer_syntax_uid=str(dataset.file_meta.get("TransferSyntaxUID", "")),
        referenced_series=tuple(str(item.SeriesInstanceUID) for item in referenced)
        if str(dataset.SOPClassUID) in _SEGMENTATIONS
        else (),
    )


def _distinct(files: Sequence[_File]) -> list[str]:
    return list(dict.fromkeys(file.patient_id for file in files))


def _name(folder: Path, images: Sequence[_File], by_series: dict[str, list[_File]]) -> str:
    """Name a series by its folder where it has one of its own, else by the end of its UID."""
    homes = {image.path.parent for image in images}
    home = homes.pop()
    series_uid = images[0].series_instance_uid
    shared = (
        homes
        or home == folder
        or any(
            other.path.parent == home
            for uid, others in by_series.items()
            if uid != series_uid
            for other in others
            if other.sop_class_uid not in _SEGMENTATIONS
        )
    )
    return f"series-{series_uid[-_SHORT_UID:]}" if shared else home.relative_to(folder).as_posix()


@contextmanager
def _linked(images: Sequence[_File]) -> Iterator[tuple[ObjectStore, list[StoredInstance]]]:
    """Open a store in which the files lie under their digests, as links."""
    with tempfile.TemporaryDirectory(prefix="oncue-cases-") as root:
        objects = ObjectStore(Path(root))
        yield objects, [_link(image, objects) for image in images]


def _link(image: _File, objects: ObjectStore) -> StoredInstance:
    with image.path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    target = objects.path(digest)
    target.parent.mkdir(exist_ok=True)
    if not target.exists():
        target.symlink_to(image.path.resolve())
    return StoredInstance(
        study_instance_uid=image.study_instance_uid,
        series_instance_uid=image.series_instance_uid,
        sop_instance_uid=image.sop_instance_uid,
        sop_class_uid=image.sop_class_uid,
        transfer_syntax_uid=image.transfer_syntax_uid,
        modality=image.modality,
        digest=digest,
        content_sha256=digest,
        size_bytes=image.path.stat().st_size,
    )
