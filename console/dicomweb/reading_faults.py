"""What a parser raises of a file becomes an error that names the file and no value of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from console.request_errors import NotAcceptable
from dicom_gateway.errors import UndecodableObject
from dicom_gateway.pydicom_faults import FAULTS
from workers.silence import no_warnings


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Raise UndecodableObject for what pydicom raises; an OSError with a number is the disk's, and stays."""
    with no_warnings():
        try:
            yield
        except (*FAULTS, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            # Not chained: pydicom quotes the value.
            raise UndecodableObject(f"object {name} cannot be read ({type(error).__name__})") from None


@contextmanager
def taken_apart() -> Iterator[None]:
    """Refuse a part of a file that cannot be taken apart, and say how to have the whole of it; NotAcceptable."""
    try:
        yield
    except UndecodableObject as error:
        raise NotAcceptable(f"{error}; take the whole instance, application/dicom; transfer-syntax=*") from error
