"""In which standard's words the history is exported; loads nothing, for the command line's help."""

from __future__ import annotations

from enum import StrEnum


class ExportFormat(StrEnum):
    """In which standard's words events are written."""

    DICOM = "dicom"
    FHIR = "fhir"
