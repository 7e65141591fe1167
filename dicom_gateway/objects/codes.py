"""The coded concepts that oncue writes, by name.

What the standard has no code for stands in our own coding scheme ``99ONCUE`` (PS3.16 8: designators that begin
with 99 are private). Its concepts:

| value | meaning | used as |
|---|---|---|
| CLASS | Few-shot class | name of a qualitative evaluation; the value is a label of the site, or ABSTAINED |
| CLASS_PERCENT | Probability of few-shot class | name of a measurement in percent |
| ABSTAINED | Abstained | value of CLASS where the classifier would not say |
| ABSTENTION | Reason for abstention | name of a qualitative evaluation; the value is a reason |
| ADVICE | Advice | name of a qualitative evaluation |
| DEFER_TO_READER | Defer to reader | value of ADVICE where the classifier abstained |
| CANDIDATE | Class not ruled out | name of a qualitative evaluation: a member of the conformal set |
| NEAREST | Nearest support case | name of a qualitative evaluation; the value is that case's label |
| MASK_CONTROL | Shuffled-mask control | name of a qualitative evaluation |
| REGION_DECIDES | Region decides | value of MASK_CONTROL: masks of other items cost accuracy |
| REGION_NOT_SHOWN | Not shown to decide | value of MASK_CONTROL |
| SALIENCY_INSIDE | Saliency inside the lesion | name of a measurement in percent |
| FAMILIARITY | Likeness to training data | name of a qualitative evaluation of the input |
| LIKE_TRAINING | Like training data | value of FAMILIARITY |
| UNLIKE_TRAINING | Unlike training data | value of FAMILIARITY: the result deserves less trust |
| UNLIKENESS | Distance beyond training data | name of a measurement without unit: 0 where nothing is unusual |
| CALIBRATION | Size calibration | name of a qualitative evaluation of a finding in a flat image |
| NOT_CALIBRATED | Not calibrated | value of CALIBRATION: the image states no size, and nothing was measured |
| DETECTOR_PLANE | At the detector plane | value of CALIBRATION: sizes are not corrected for magnification |
| LESION_VOLUME | Total volume of lesions | name of a measurement of an organ in ml: of the lesions that lie in it |
| NOT_ANALYSED | Study not analysed automatically | title of a notice |
| REASON | Reason for no analysis | name of a coded value, a code of oncue as in its log |
| ROUTE | Route of analysis | name of a text: the route that failed |
| UNMET | Condition not met | name of a text: what a route asks and the study is not |
| SERIES_RECEIVED | Series received | name of a container of a notice, one for each series |
| IMAGES | Images | name of a text: how many images of a series were received |
| AUDIT_CHECKPOINT | Audit log checkpoint | name of a text: a signed note on the audit log, in Base64 |
| READING_PRIORITY | Reading priority | name of a qualitative evaluation of the study, by the site's triage policy |
| STAT | Read at once | value of READING_PRIORITY: before everything else |
| HIGH | Read soon | value of READING_PRIORITY |
| ROUTINE | Read in turn | value of READING_PRIORITY |
| LOW | Read last | value of READING_PRIORITY |
| TRIAGE_RULE | Triage rule | name of a text: the rule of the policy that gave the priority |
| TRIAGE_POLICY | Digest of triage policy | name of a text: SHA-256 of the policy's file, in hexadecimal |
| KEY_STAT | Of Interest, priority STAT | title of a key object that shows the priority; so KEY_HIGH and others |
| ATTENTION | Anomaly attention | what the values of a parametric map stand for, 0 to 1 |
| LESION_SCORE | Lesion score | what the values of a parametric map stand for, 0 to 1 |
| SALIENCY | Classifier saliency | what the values of a parametric map stand for, 0 to 1 |
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from types import MappingProxyType

from pydicom.sr.coding import Code as DicomCode

from dicom_gateway.objects.plain_text import plain
from storage.domain import Code, Priority

PRIVATE_SCHEME = "99ONCUE"
PRIVATE_SCHEME_NAME = "oncue result concepts"

MORPHOLOGICALLY_ABNORMAL = DicomCode("49755003", "SCT", "Morphologically Abnormal Structure")
ANATOMICAL_STRUCTURE = DicomCode("91723000", "SCT", "Anatomical Structure")
LESION = Code("52988006", "SCT", "Lesion")
PRESENT = DicomCode("52101004", "SCT", "Present")
ABSENT = DicomCode("272519000", "SCT", "Absent")

ARTIFICIAL_INTELLIGENCE = DicomCode("123110", "DCM", "Artificial Intelligence")
MEASUREMENT_REPORT = DicomCode("126000", "DCM", "Imaging Measurement Report")
PROCESSING_EQUIPMENT = DicomCode("109102", "DCM", "Processing Equipment")

SOURCE_IMAGE_FOR_PROCESSING = DicomCode("121322", "DCM", "Source image for image processing operation")
OF_INTEREST = DicomCode("113000", "DCM", "Of Interest")
OF_INTEREST_BY_PRIORITY: Mapping[Priority, DicomCode] = MappingProxyType(
    {
        priority: DicomCode(f"KEY_{priority.value}", PRIVATE_SCHEME, f"Of Interest, priority {priority.value}")
        for priority in Priority
    }
)

VOLUME = DicomCode("118565006", "SCT", "Volume")
AREA = DicomCode("42798000", "SCT", "Area")
LONG_AXIS = DicomCode("103339001", "SCT", "Long Axis")
NUMBER_OF_LESIONS = DicomCode("246206008", "SCT", "Number of lesions")
CERTAINTY_OF_FINDING = DicomCode("111012", "DCM", "Certainty of Finding")

MILLILITER = DicomCode("ml", "UCUM", "milliliter")
MILLIMETER = DicomCode("mm", "UCUM", "mm")
SQUARE_MILLIMETER = DicomCode("mm2", "UCUM", "square millimeter")
PERCENT = DicomCode("%", "UCUM", "percent")
NO_UNITS = DicomCode("1", "UCUM", "no units")

# PS3.16 has urgencies of procedures (CID 3414), and no concept for a rank in a reading list.
QUALITATIVE_EVALUATIONS = DicomCode("C0034375", "UMLS", "Qualitative Evaluations")
READING_PRIORITY = DicomCode("READING_PRIORITY", PRIVATE_SCHEME, "Reading priority")
PRIORITIES: Mapping[Priority, DicomCode] = MappingProxyType(
    {
        Priority.STAT: DicomCode("STAT", PRIVATE_SCHEME, "Read at once"),
        Priority.HIGH: DicomCode("HIGH", PRIVATE_SCHEME, "Read soon"),
        Priority.ROUTINE: DicomCode("ROUTINE", PRIVATE_SCHEME, "Read in turn"),
        Priority.LOW: DicomCode("LOW", PRIVATE_SCHEME, "Read last"),
    }
)
TRIAGE_RULE = DicomCode("TRIAGE_RULE", PRIVATE_SCHEME, "Triage rule")
TRIAGE_POLICY = DicomCode("TRIAGE_POLICY", PRIVATE_SCHEME, "Digest of triage policy")

NOT_ANALYSED = DicomCode("NOT_ANALYSED", PRIVATE_SCHEME, "Study not analysed automatically")
REASON = DicomCode("REASON", PRIVATE_SCHEME, "Reason for no analysis")
ROUTE = DicomCode("ROUTE", PRIVATE_SCHEME, "Route of analysis")
UNMET = DicomCode("UNMET", PRIVATE_SCHEME, "Condition not met")
SERIES_RECEIVED = DicomCode("SERIES_RECEIVED", PRIVATE_SCHEME, "Series received")
IMAGES = DicomCode("IMAGES", PRIVATE_SCHEME, "Images")
COMMENT = DicomCode("121106", "DCM", "Comment")
MODALITY = DicomCode("121139", "DCM", "Modality")
STUDY_INSTANCE_UID = DicomCode("110180", "DCM", "Study Instance UID")
SERIES_INSTANCE_UID = DicomCode("112002", "DCM", "Series Instance UID")
LANGUAGE = DicomCode("121049", "DCM", "Language of Content Item and Descendants")
ENGLISH = DicomCode("en", "RFC5646", "English")

AUDIT_CHECKPOINT = DicomCode("AUDIT_CHECKPOINT", PRIVATE_SCHEME, "Audit log checkpoint")
CLASS = DicomCode("CLASS", PRIVATE_SCHEME, "Few-shot class")
CLASS_PROBABILITY = DicomCode("CLASS_PERCENT", PRIVATE_SCHEME, "Probability of few-shot class")
ABSTAINED = DicomCode("ABSTAINED", PRIVATE_SCHEME, "Abstained")
ABSTENTION = DicomCode("ABSTENTION", PRIVATE_SCHEME, "Reason for abstention")
ADVICE = DicomCode("ADVICE", PRIVATE_SCHEME, "Advice")
DEFER_TO_READER = DicomCode("DEFER_TO_READER", PRIVATE_SCHEME, "Defer to reader")
CANDIDATE = DicomCode("CANDIDATE", PRIVATE_SCHEME, "Class not ruled out")
NEAREST = DicomCode("NEAREST", PRIVATE_SCHEME, "Nearest support case")
MASK_CONTROL = DicomCode("MASK_CONTROL", PRIVATE_SCHEME, "Shuffled-mask control")
REGION_DECIDES = DicomCode("REGION_DECIDES", PRIVATE_SCHEME, "Region decides")
REGION_NOT_SHOWN = DicomCode("REGION_NOT_SHOWN", PRIVATE_SCHEME, "Not shown to decide")
SALIENCY_INSIDE = DicomCode("SALIENCY_INSIDE", PRIVATE_SCHEME, "Saliency inside the lesion")

FAMILIARITY = DicomCode("FAMILIARITY", PRIVATE_SCHEME, "Likeness to training data")
LIKE_TRAINING = DicomCode("LIKE_TRAINING", PRIVATE_SCHEME, "Like training data")
UNLIKE_TRAINING = DicomCode("UNLIKE_TRAINING", PRIVATE_SCHEME, "Unlike training data")
UNLIKENESS = DicomCode("UNLIKENESS", PRIVATE_SCHEME, "Distance beyond training data")

LESION_VOLUME = DicomCode("LESION_VOLUME", PRIVATE_SCHEME, "Total volume of lesions")

CALIBRATION = DicomCode("CALIBRATION", PRIVATE_SCHEME, "Size calibration")
NOT_CALIBRATED = DicomCode("NOT_CALIBRATED", PRIVATE_SCHEME, "Not calibrated")
DETECTOR_PLANE = DicomCode("DETECTOR_PLANE", PRIVATE_SCHEME, "At the detector plane")

ATTENTION = DicomCode("ATTENTION", PRIVATE_SCHEME, "Anomaly attention")
LESION_SCORE = DicomCode("LESION_SCORE", PRIVATE_SCHEME, "Lesion score")
SALIENCY = DicomCode("SALIENCY", PRIVATE_SCHEME, "Classifier saliency")
QUANTITY = DicomCode("246205007", "SCT", "Quantity")
ALGORITHM_NAME = DicomCode("111001", "DCM", "Algorithm Name")
ALGORITHM_PARAMETERS = DicomCode("111002", "DCM", "Algorithm Parameters")
ALGORITHM_VERSION = DicomCode("111003", "DCM", "Algorithm Version")

IMAGING = DicomCode("363679005", "SCT", "Imaging procedure")
_XR = DicomCode("43468-8", "LN", "XR unspecified body region")
_PROCEDURES = {
    "CR": _XR,
    "CT": DicomCode("25045-6", "LN", "CT unspecified body region"),
    "DX": _XR,
    "MR": DicomCode("25056-3", "LN", "MRI unspecified body region"),
    "NM": DicomCode("49118-3", "LN", "NM unspecified body region"),
    "PT": DicomCode("44136-0", "LN", "PET unspecified body region"),
    "XA": DicomCode("77343006", "SCT", "Angiography"),
}

_CODE_VALUE_CHARACTERS = 16


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
