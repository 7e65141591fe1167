"""The coded concepts that oncue writes, by name.

What the standard has no code for stands in our own coding scheme ``99ONCUE`` (PS3.16 8: designators that begin
with 99 are private). Its concepts:

| value | meaning | used as |
|---|---|---|
| CLASS | Few-shot class | name of a qualitative evaluation; the value is a label of the site, or ABSTAINED |
| CLASS_PERCENT | Probability of few-shot class | name of a measurement in percent |
| ABSTAINED | Abstained | value of CLASS where the classifier would not say |
| ABSTENTION | Reason for abstention | name of a qualitative evaluation; the value is a reason |
"""

from __future__ import annotations

import hashlib
import re
import unicodedata

from pydicom.sr.coding import Code as DicomCode

from storage.domain import Code

PRIVATE_SCHEME = "99ONCUE"
PRIVATE_SCHEME_NAME = "oncue result concepts"

MORPHOLOGICALLY_ABNORMAL = DicomCode("49755003", "SCT", "Morphologically Abnormal Structure")
LESION = Code("52988006", "SCT", "Lesion")
PRESENT = DicomCode("52101004", "SCT", "Present")
ABSENT = DicomCode("272519000", "SCT", "Absent")

ARTIFICIAL_INTELLIGENCE = DicomCode("123110", "DCM", "Artificial Intelligence")
PROCESSING_EQUIPMENT = DicomCode("109102", "DCM", "Processing Equipment")

VOLUME = DicomCode("118565006", "SCT", "Volume")
LONG_AXIS = DicomCode("103339001", "SCT", "Long Axis")
CERTAINTY_OF_FINDING = DicomCode("111012", "DCM", "Certainty of Finding")

MILLILITER = DicomCode("ml", "UCUM", "milliliter")
MILLIMETER = DicomCode("mm", "UCUM", "mm")
PERCENT = DicomCode("%", "UCUM", "percent")

CLASS = DicomCode("CLASS", PRIVATE_SCHEME, "Few-shot class")
CLASS_PROBABILITY = DicomCode("CLASS_PERCENT", PRIVATE_SCHEME, "Probability of few-shot class")
ABSTAINED = DicomCode("ABSTAINED", PRIVATE_SCHEME, "Abstained")
ABSTENTION = DicomCode("ABSTENTION", PRIVATE_SCHEME, "Reason for abstention")

IMAGING = DicomCode("363679005", "SCT", "Imaging procedure")
_PROCEDURES = {
    "CT": DicomCode("25045-6", "LN", "CT unspecified body region"),
    "MR": DicomCode("25056-3", "LN", "MRI unspecified body region"),
    "PT": DicomCode("44136-0", "LN", "PET unspecified body region"),
}

_CODE_VALUE_CHARACTERS = 16
_LONG_STRING_CHARACTERS = 64


def dicom_code(code: Code) -> DicomCode:
    """Return a domain code in the form that pydicom and highdicom take."""
    return DicomCode(code.value, code.scheme, code.meaning)


def procedure(modality: str) -> DicomCode:
    """Return the procedure that a report on a series of this modality speaks of (PS3.16 CID 100)."""
    return _PROCEDURES.get(modality, IMAGING)


def site_code(text: str) -> DicomCode:
    """Return a code of our own scheme for a site's text: readable where it fits 16 characters, else a digest of it."""
    meaning = plain(text)
    value = re.sub(r"[^A-Z0-9]+", "_", meaning.upper()).strip("_")
    if not value or len(value) > _CODE_VALUE_CHARACTERS:
        value = hashlib.sha256(text.encode()).hexdigest()[:_CODE_VALUE_CHARACTERS].upper()
    return DicomCode(value, PRIVATE_SCHEME, meaning or "unnamed")


def plain(text: str, characters: int = _LONG_STRING_CHARACTERS) -> str:
    """Reduce text to printable ASCII without backslash, which every source's character set can hold, and cut it."""
    decomposed = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    kept = "".join(character for character in decomposed if character.isprintable() and character != "\\")
    return kept.strip()[:characters].strip()
