"""The source series behind an analysis: its headers as stored, and a clean form of them for the object builders.

The builders validate what they are given and log what they dislike, names included. They are therefore handed headers
that carry geometry and references only; patient and study attributes are copied onto the finished object, untouched.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pydicom
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.tag import Tag
from pydicom.valuerep import PersonName

from dicom_gateway.errors import SourceUnusable
from dicom_gateway.usable_text import with_usable_text
from storage.errors import ObjectMissing
from storage.objects import ObjectStore
from storage.volumes import FrameRef

# What a result shares with its source: patient, study and de-identification modules (PS3.3 C.7.1, C.7.2).
_IDENTITY = (
    "SpecificCharacterSet",
    "TimezoneOffsetFromUTC",
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "IssuerOfPatientIDQualifiersSequence",
    "PatientBirthDate",
    "PatientBirthTime",
    "PatientSex",
    "OtherPatientIDsSequence",
    "EthnicGroup",
    "PatientSpeciesDescription",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "DeidentificationMethodCodeSequence",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "StudyDescription",
    "AccessionNumber",
    "IssuerOfAccessionNumberSequence",
    "ReferringPhysicianName",
    "ProcedureCodeSequence",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "ClinicalTrialSponsorName",
    "ClinicalTrialProtocolID",
    "ClinicalTrialProtocolName",
    "ClinicalTrialSiteID",
    "ClinicalTrialSiteName",
    "ClinicalTrialSubjectID",
    "ClinicalTrialSubjectReadingID",
)
_BLANK = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
)
_REFERENCE = ("StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID", "SOPInstanceUID", "Modality")
TEXT_VRS = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
"""What (0008,0005) speaks of (PS3.5 6.1.2.2)."""
_ESCAPE = b"\x1b"
_CARRIED = (
    "Manufacturer",
    "ManufacturerModelName",
    "SoftwareVersions",
    "DeviceSerialNumber",
    "StationName",
    "LossyImageCompression",
    "LossyImageCompressionRatio",
    "LossyImageCompressionMethod",
    "PositionReferenceIndicator",
)


@dataclass(frozen=True, slots=True, eq=False)
class SourceSeries:
    """The distinct source instances of one series, in the order in which frames first name them.

    ``datasets`` are headers without pixels, as stored.
    """

    datasets: tuple[Dataset, ...]

    @property
    def first(self) -> Dataset:
        """The header that speaks for the series."""
        return self.datasets[0]

    @property
    def study_instance_uid(self) -> str:
        """The study that results belong to."""
        return str(self.first.StudyInstanceUID)

    @property
    def modality(self) -> str:
        """Modality of the series."""
        return str(self.first.get("Modality", ""))

    def by_uid(self) -> dict[str, Dataset]:
        """Map SOP Instance UIDs to headers."""
        return {str(dataset.SOPInstanceUID): dataset for dataset in self.datasets}


Sources = Sequence[Dataset] | SourceSeries
"""The headers of an analysis's distinct source instances, in any order; as a series they have been checked already."""


def read_sources(frames: Iterable[FrameRef], objects: ObjectStore) -> tuple[Dataset, ...]:
    """Read the header of each distinct instance once, in order; ObjectMissing, SourceUnusable."""
    digests = dict.fromkeys(frame.digest for frame in frames)
    return tuple(read_header(digest, objects) for digest in digests)


def read_header(digest: str, objects: ObjectStore) -> Dataset:
    """Read one stored instance without its pixels; ObjectMissing, ObjectCorrupt, SourceUnusable."""
    try:
        return with_usable_text(pydicom.dcmread(objects.path(digest), stop_before_pixels=True))
    except FileNotFoundError as error:
        raise ObjectMissing(f"object {digest[:12]} is not in the store") from error
    except (InvalidDicomError, EOFError, ValueError, KeyError, AttributeError, struct.error) as error:
        objects.verify(digest)  # a file that rotted on disk is that, and not an unusable source
        raise SourceUnusable(f"object {digest[:12]} cannot be read as a DICOM file") from error


def source_series(sources: Sources) -> SourceSeries:
    """Check that the sources are instances of one series of one study; SourceUnusable otherwise."""
    if isinstance(sources, SourceSeries):
        return sources
    if not sources:
        raise SourceUnusable("the analysis names no source image")
    for keyword in _REFERENCE[:4]:
        if any(not dataset.get(keyword) for dataset in sources):
            raise SourceUnusable(f"a source image has no {keyword}")
    if len({(dataset.StudyInstanceUID, dataset.SeriesInstanceUID) for dataset in sources}) != 1:
        raise SourceUnusable("the source images are not of one series")
    return SourceSeries(tuple(sources))


def inherited_uids(sources: Sequence[Dataset]) -> frozenset[str]:
    """Return the UIDs that a result repeats from its sources, well-formed or not."""
    keywords = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "FrameOfReferenceUID")
    return frozenset(str(source.get(keyword, "")) for source in sources for keyword in keywords)


def stated_spacing(dataset: Dataset, keyword: str) -> tuple[float, float] | None:
    """Return the (row, column) spacing in mm that a header states under a keyword, or None where it is no spacing."""
    try:
        row, column = (float(value) for value in dataset.get(keyword) or ())
    except (TypeError, ValueError):
        return None
    return (row, column) if 0.0 < row < math.inf and 0.0 < column < math.inf else None


def reference_header(dataset: Dataset) -> Dataset:
    """Return a header with the source's UIDs and equipment, and a blank patient and study."""
    header = Dataset()
    for keyword in _REFERENCE + _CARRIED:
        if dataset.get(keyword) not in (None, ""):
            header.add(dataset[keyword])
    leave_blank(header)
    return header


def leave_blank(target: Dataset) -> None:
    """Give an object the attributes of patient and study that it must have, empty (type 2; PS3.3 C.7.1.1, C.7.2.1)."""
    for keyword in _BLANK:
        setattr(target, keyword, "")


def copy_identity(source: Dataset, target: Dataset) -> None:
    """Give a written object its source's patient, study, character set and time zone, value for value."""
    for keyword in _IDENTITY:
        if keyword in source and (source[keyword].value or keyword in _BLANK):
            target.add(source[keyword])
        elif keyword in target and keyword not in _BLANK:
            delattr(target, keyword)


def keep_text(source: Dataset, target: Dataset) -> None:
    """Give a finished object the bytes of its source's text where they are more than ASCII.

    What a character set does not cover is lost when it is decoded and encoded again, and a patient whose name has
    changed is another one to an archive. ``source`` is freshly read: an element that was looked at is decoded. Last
    before the object is encoded, for the same reason.
    """
    for keyword in _IDENTITY:
        tag = Tag(keyword)
        stored = source.get_item(tag)
        if not isinstance(stored, RawDataElement) or dictionary_VR(tag) not in TEXT_VRS or tag not in target:
            continue
        value = stored.value or b""
        if target[tag].value and (not value.isascii() or _ESCAPE in value):
            as_stored = _StoredName(value) if dictionary_VR(tag) == "PN" else value
            target[tag] = DataElement(tag, dictionary_VR(tag), as_stored, already_converted=True)


class _StoredName(PersonName):
    """A name that is written as it was stored, whatever the character set of its data set."""

    def encode(self, encodings: Sequence[str] | None = None) -> bytes:
        del encodings
        return bytes(self.original_string)
