"""The attributes of workitems that the rules look at, and the codes that they hold."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from storage.attributes import Element, element


class Tag(StrEnum):
    """Attributes that the rules look at, as the JSON model writes tags; the names are the keywords of PS3.6."""

    SpecificCharacterSet = "00080005"
    SOPClassUID = "00080016"
    SOPInstanceUID = "00080018"
    AccessionNumber = "00080050"
    RetrieveAETitle = "00080054"
    CodeValue = "00080100"
    CodingSchemeDesignator = "00080102"
    CodeMeaning = "00080104"
    ReferencedSOPClassUID = "00081150"
    ReferencedSOPInstanceUID = "00081155"
    AdmittingDiagnosesDescription = "00081080"
    AdmittingDiagnosesCodeSequence = "00081084"
    TransactionUID = "00081195"
    ReferencedSOPSequence = "00081199"
    PatientName = "00100010"
    PatientID = "00100020"
    IssuerOfPatientID = "00100021"
    IssuerOfPatientIDQualifiersSequence = "00100024"
    PatientBirthDate = "00100030"
    PatientSex = "00100040"
    OtherPatientIDsSequence = "00101002"
    StudyInstanceUID = "0020000D"
    SeriesInstanceUID = "0020000E"
    RequestedProcedureDescription = "00321060"
    AdmissionID = "00380010"
    IssuerOfAdmissionIDSequence = "00380014"
    CommentsOnTheScheduledProcedureStep = "00400400"
    RequestedProcedureID = "00401001"
    ScheduledProcedureStepStartDateTime = "00404005"
    ScheduledWorkitemCodeSequence = "00404018"
    PerformedWorkitemCodeSequence = "00404019"
    InputInformationSequence = "00404021"
    ScheduledStationNameCodeSequence = "00404025"
    ScheduledStationClassCodeSequence = "00404026"
    ScheduledStationGeographicLocationCodeSequence = "00404027"
    PerformedStationNameCodeSequence = "00404028"
    OutputInformationSequence = "00404033"
    InputReadinessState = "00404041"
    PerformedProcedureStepStartDateTime = "00404050"
    PerformedProcedureStepEndDateTime = "00404051"
    ProcedureStepCancellationDateTime = "00404052"
    TypeOfInstances = "0040E020"
    DICOMRetrievalSequence = "0040E021"
    ReferencedRequestSequence = "0040A370"
    ProcedureStepState = "00741000"
    ProcedureStepProgressInformationSequence = "00741002"
    ContactURI = "0074100A"
    ContactDisplayName = "0074100C"
    ProcedureStepDiscontinuationReasonCodeSequence = "0074100E"
    ScheduledProcedureStepPriority = "00741200"
    WorklistLabel = "00741202"
    ProcedureStepLabel = "00741204"
    ScheduledProcessingParametersSequence = "00741210"
    UnifiedProcedureStepPerformedProcedureSequence = "00741216"
    ReasonForCancellation = "00741238"


def code(value: str, scheme: str, meaning: str) -> Mapping[str, Element]:
    """Return the item of a code sequence (PS3.3 Table 8.8-1)."""
    return {
        Tag.CodeValue: element("SH", value),
        Tag.CodingSchemeDesignator: element("SH", scheme),
        Tag.CodeMeaning: element("LO", meaning),
    }
