"""The border to what others wrote: nothing read from a DICOM file is trusted, and every parser fault has a code."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.tag import Tag
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

from storage.errors import ObjectMissing
from storage.objects import ObjectStore
from workers.errors import OversizedInstance, UnreadableInstance

# What pydicom and the codecs raise on malformed input. Anything else is a fault of ours and is not caught.
_PARSER_FAULTS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    BytesLengthException,
    EOFError,
    InvalidDicomError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
)


@dataclass(frozen=True, slots=True)
class ReadLimits:
    """How much one instance and one volume may claim before it is refused unread."""

    instance_bytes: int = 2 << 30
    decoded_bytes: int = 2 << 30
    frames: int = 20_000
    voxels: int = 320_000_000


DEFAULT_LIMITS = ReadLimits()


@contextmanager
def parsing(digest: str, *, doing: str) -> Iterator[None]:
    """Turn a parser fault into UnreadableInstance that names the object and the step, never a value from the file."""
    with warnings.catch_warnings():
        # pydicom warns of each departure from the standard; what matters to us is checked by value.
        warnings.simplefilter("ignore")
        try:
            yield
        except BaseException as error:  # edge: what is no fault of the parser is raised again
            if not _is_parser_fault(error):
                raise
            # Not chained: pydicom quotes the offending value, and that may be patient data.
            raise UnreadableInstance(
                f"object {digest[:12]}: {doing} failed ({type(error).__name__}); send the instance again or exclude it"
            ) from None


def _is_parser_fault(error: BaseException) -> bool:
    """Tell malformed input from our own faults.

    pydicom raises OSError without an error number where a tag ends too early; one with a number is the disk's. The
    RLE codec is written in Rust: what it does not expect ends in a panic, which Python sees as a BaseException
    of a class that cannot be imported.
    """
    if isinstance(error, OSError):
        return error.errno is None
    return isinstance(error, _PARSER_FAULTS) or type(error).__name__ == "PanicException"


def read_dataset(
    objects: ObjectStore, digest: str, *, limits: ReadLimits, keywords: tuple[str | int, ...] | None = None
) -> Dataset:
    """Parse a stored Part 10 file; with ``keywords`` only those elements, and nothing from the pixels on.

    UnreadableInstance for what is no DICOM file or is deflated (a few bytes can inflate to anything),
    OversizedInstance above ``limits.instance_bytes``, ObjectMissing.
    """
    path = objects.path(digest)
    _require_modest_size(path, digest, limits)
    with parsing(digest, doing="reading the file meta information"):
        syntax = UID(str(read_file_meta_info(path).get("TransferSyntaxUID", "")))
    if syntax == DeflatedExplicitVRLittleEndian:
        raise UnreadableInstance(f"object {digest[:12]}: {syntax.name} is not accepted; send it uncompressed")
    with parsing(digest, doing="parsing the data set"):
        if keywords is None:
            return dcmread(path)
        return dcmread(path, stop_before_pixels=True, specific_tags=[Tag(keyword) for keyword in keywords])


def _require_modest_size(path: Path, digest: str, limits: ReadLimits) -> None:
    try:
        size = path.stat().st_size
    except FileNotFoundError as error:
        raise ObjectMissing(f"object {digest[:12]} is not in the store") from error
    if size > limits.instance_bytes:
        raise OversizedInstance(f"object {digest[:12]} has {size} bytes; the limit is {limits.instance_bytes}")
