"""Why a request was not answered."""

from __future__ import annotations

from console.record_schema import RecordSchema


class ErrorForm(RecordSchema):
    """Why a request was not answered as asked; ``code`` is stable and safe to script against."""

    code: str
    message: str
