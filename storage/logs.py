"""Logging: structlog for our own events and the standard library's for others, one chain, no patient data.

Events are named ``subject.verb`` in snake case and carry a ``code`` where something went wrong. INFO is a change of
state, WARNING is a refusal or a retry, ERROR means that a person must look.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping
from typing import TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

REDACTED = "[redacted]"

# Names under which patient data could come: DICOM keywords and our own columns, compared without case and underscores.
_PATIENT_WORDS = (
    "patient",
    "accession",
    "birth",
    "physician",
    "operator",
    "studydescription",
    "seriesdescription",
    "studydate",
    "institution",
    "othernames",
    "dataset",
    "identifier",
)
# What a data set prints as: "(0010,0010) Patient's Name   PN: 'Doe^John'".
_PRINTED_ELEMENT = re.compile(r"\([0-9A-Fa-f]{4}, ?[0-9A-Fa-f]{4}\)[^\n]*")
# A person name in DICOM form: two or more components divided by carets (PS3.5 6.2).
_PERSON_NAME = re.compile(r"[^\W\d_][\w'.-]*(?: [\w'.-]+)*\^[\w'.-]*(?:\^[\w'.-]*)*")


def configure(level: str = "INFO", *, json: bool = True, stream: TextIO | None = None) -> None:
    """Send every log line of this process to ``stream`` (default: standard error), as JSON or for a terminal."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        redact,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    renderer: Processor = (
        structlog.processors.JSONRenderer() if json else structlog.dev.ConsoleRenderer(colors=_is_terminal(stream))
    )
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    for old in tuple(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    # pydicom quotes values that are ill-formed, a birth date for one, and no setting of its own silences all of it.
    logging.getLogger("pydicom").propagate = False


def keep_off_standard_output() -> None:
    """Have a command that configures no log write its lines to standard error: the rest is what programs read."""
    if not structlog.is_configured():
        structlog.configure(logger_factory=lambda *_: structlog.PrintLogger(sys.stderr))


def redact(_logger: WrappedLogger, _method: str, event_dict: EventDict) -> EventDict:
    """Blank the values of patient attributes, at any depth, and what looks like one inside a text."""
    return {key: _redacted(key, value) for key, value in event_dict.items()}


def _redacted(key: str, value: object) -> object:
    if key in {"_record", "_from_structlog"}:
        return value
    if _names_patient_data(key) and value not in ("", None):
        return REDACTED
    if isinstance(value, str):
        return _PERSON_NAME.sub(REDACTED, _PRINTED_ELEMENT.sub(REDACTED, value))
    if isinstance(value, Mapping):
        return {name: _redacted(str(name), inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_redacted("", inner) for inner in value]
    return value


def _names_patient_data(key: str) -> bool:
    folded = key.replace("_", "").lower()
    return any(word in folded for word in _PATIENT_WORDS)


def _is_terminal(stream: TextIO | None) -> bool:
    return (stream or sys.stderr).isatty()
