"""Settings of the DICOM libraries that keep patient data out of logs, warnings and standard error."""

from __future__ import annotations

import logging

import pydicom.config
from pynetdicom import _config


def keep_identifiers_out_of_logs() -> None:
    """Silence what the libraries say about data sets, and let pynetdicom stream files from disk.

    pynetdicom's log handlers write out requests and identifiers. pydicom warns of an ill-formed value by quoting it,
    a birth date for one; what oncue writes is checked by oncue itself. Below a warning pynetdicom has lines for each
    sub-operation, which would bury our own. All are settings of the process; setting them again changes nothing.
    """
    logging.getLogger("pynetdicom").setLevel(logging.WARNING)
    _config.LOG_HANDLER_LEVEL = "none"
    _config.LOG_REQUEST_IDENTIFIERS = False
    _config.LOG_RESPONSE_IDENTIFIERS = False
    _config.STORE_SEND_CHUNKED_DATASET = True
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    pydicom.config.settings.writing_validation_mode = pydicom.config.IGNORE
