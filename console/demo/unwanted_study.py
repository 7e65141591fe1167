"""A study that no route of the shipped file wants: the phantom's pixels under the header of a knee."""

from __future__ import annotations

from pathlib import Path

import pydicom

from phantom.study import write_phantom_study
from storage.uids import deterministic_uid

_SLICES = 8
_SIZE = 64


def write_unwanted_study(folder: Path, *, seed: int) -> str:
    """Write a small MR study below ``folder`` whose header says knee, and return its Study Instance UID."""
    written = write_phantom_study(folder, seed=seed, lesion=False, slices=_SLICES, size=_SIZE)
    study_uid = deterministic_uid("phantom-study-knee", str(seed))
    for path in sorted(folder.rglob("*.dcm")):
        instance = pydicom.dcmread(path)
        instance.StudyInstanceUID = study_uid
        instance.SeriesInstanceUID = deterministic_uid("phantom-series-knee", str(instance.SeriesInstanceUID))
        instance.SOPInstanceUID = deterministic_uid("phantom-instance-knee", str(instance.SOPInstanceUID))
        instance.file_meta.MediaStorageSOPInstanceUID = instance.SOPInstanceUID
        instance.FrameOfReferenceUID = deterministic_uid("phantom-frame-knee", str(seed))
        instance.PatientName, instance.StudyDescription = "PHANTOM^KNEE", "Phantom knee MR"
        instance.BodyPartExamined, instance.SeriesDescription = "KNEE", "AX PD FS"
        instance.save_as(path, enforce_file_format=True)
    written.truth_path.unlink()
    return study_uid
