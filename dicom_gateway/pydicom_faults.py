"""What pydicom raises, which knows no error of its own for most of what is wrong with a data set."""

from __future__ import annotations

import struct

from pydicom.errors import BytesLengthException, InvalidDicomError

FAULTS = (
    InvalidDicomError,
    BytesLengthException,
    EOFError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    NotImplementedError,
    RecursionError,  # sequences in sequences
    struct.error,
)
"""Raised on bytes that are no data set, on a broken one, and on a value that is none of its VR."""
IN_MEMORY = (*FAULTS, OSError)
"""The same of a stream in memory, where OSError is no fault of the disk: it ends where more is due."""
