"""A folder of DICOM files as a study on record would be: its images in an object store that lives while it is read."""

from __future__ import annotations

import hashlib
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from dicom_gateway.errors import NoSeriesFound
from storage.domain import StoredInstance
from storage.errors import ConfigurationError
from storage.objects import ObjectStore

_KEYWORDS = ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Modality"]


@contextmanager
def study_of_folder(folder: Path) -> Iterator[tuple[tuple[StoredInstance, ...], ObjectStore]]:
    """Read the images below a folder; what is no DICOM file is passed over.

    NoSeriesFound where there is none, ConfigurationError where they are of several studies.
    """
    found = [(path, header) for path in sorted(folder.rglob("*")) if path.is_file() and (header := _header(path))]
    studies = {str(header.StudyInstanceUID) for _, header in found}
    if not found:
        raise NoSeriesFound(f"no series of DICOM images below {folder}; check the folder")
    if len(studies) > 1:
        raise ConfigurationError(f"{folder} holds {len(studies)} studies: name the folder of one")
    with tempfile.TemporaryDirectory(prefix="oncue-try-") as place:
        objects = ObjectStore(Path(place))
        objects.prepare()
        yield tuple(_stored(path, header, objects) for path, header in found), objects


def _stored(path: Path, header: Dataset, objects: ObjectStore) -> StoredInstance:
    content = path.read_bytes()
    return StoredInstance(
        study_instance_uid=str(header.StudyInstanceUID),
        series_instance_uid=str(header.SeriesInstanceUID),
        sop_instance_uid=str(header.SOPInstanceUID),
        sop_class_uid=str(header.SOPClassUID),
        transfer_syntax_uid=str(header.file_meta.TransferSyntaxUID),
        modality=str(header.get("Modality", "")),
        digest=objects.put(content),
        content_sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
    )


def _header(path: Path) -> Dataset | None:
    """Return the identifiers of one file, or None of what is no image that can be placed in a study."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # departures from the standard are judged by value
        try:
            header = dcmread(path, stop_before_pixels=True, specific_tags=list(_KEYWORDS))
        except (OSError, InvalidDicomError, ValueError, LookupError, ArithmeticError, TypeError, AttributeError):
            return None
    whole = all(header.get(keyword) for keyword in _KEYWORDS[:-1]) and "TransferSyntaxUID" in header.file_meta
    return header if whole else None
