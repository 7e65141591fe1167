"""Where the services of DICOMweb are, and the form that they answer in where it is no file."""

from __future__ import annotations

from fastapi import Request

BASE = "/dicom-web"
DICOM_JSON = "application/dicom+json"
JSON_TYPES = (DICOM_JSON, "application/json")


def base_of(request: Request) -> str:
    """Return the address of the services as the client asked for it."""
    return f"{str(request.base_url).rstrip('/')}{BASE}"
