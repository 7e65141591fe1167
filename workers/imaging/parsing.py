"""The border to what others wrote: nothing read from a DICOM file is trusted, and every parser fault has a code."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from os import SEEK_CUR
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.tag import Tag
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

from storage.character_sets import misleads
from storage.errors import ObjectMissing
from storage.objects import ObjectStore
from workers.errors import OversizedInstance, UnreadableInstance
from workers.silence import no_warnings

_META_START = 144
"""Preamble, DICM, and the group length of the file meta information."""
_GROUP_LENGTH = bytes.fromhex("02000000") + b"UL" + bytes.fromhex("0400")
_GROUP_2 = (bytes.fromhex("0200"), bytes.fromhex("0002"))
"""In little and in big endian."""

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
    voxels: int = 600_000_000


DEFAULT_LIMITS = ReadLimits()


@contextmanager
def parsing(digest: str, *, doing: str) -> Iterator[None]:
    """Turn a parser fault into UnreadableInstance that names the object and the step, never a value from the file."""
    # pydicom warns of each departure from the standard; what matters to us is checked by value.
    with no_warnings():
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

    UnreadableInstance for what is no DICOM file, is deflated (a few bytes can inflate to anything) or begins its data
    set with file meta information of its own, OversizedInstance above ``limits.instance_bytes``, ObjectMissing.
    """
    path = objects.path(digest)
    _require_modest_size(path, digest, limits)
    with parsing(digest, doing="reading the file meta information"):
        _require_no_second_meta(path, digest)
        syntax = UID(str(read_file_meta_info(path).get("TransferSyntaxUID", "")))
    if syntax == DeflatedExplicitVRLittleEndian:
        raise UnreadableInstance(f"object {digest[:12]}: {syntax.name} is not accepted; send it uncompressed")
    with parsing(digest, doing="parsing the data set"):
        if keywords is None:
            return _with_usable_text(dcmread(path))
        wanted = [Tag(keyword) for keyword in (*keywords, "SpecificCharacterSet")]
        return _with_usable_text(dcmread(path, stop_before_pixels=True, specific_tags=wanted))


def _with_usable_text(dataset: Dataset) -> Dataset:
    """Forget a character set that is none: an image is not refused for its text."""
    named = dataset.get("SpecificCharacterSet") or ""
    if misleads([named] if isinstance(named, str) else named):
        implicit, little_endian = dataset.original_encoding
        dataset.set_original_encoding(implicit, little_endian, "iso8859")
        del dataset["SpecificCharacterSet"]
    return dataset


def _require_modest_size(path: Path, digest: str, limits: ReadLimits) -> None:
    try:
        size = path.stat().st_size
    except FileNotFoundError as error:
        raise ObjectMissing(f"object {digest[:12]} is not in the store") from error
    if size > limits.instance_bytes:
        raise OversizedInstance(f"object {digest[:12]} has {size} bytes; the limit is {limits.instance_bytes}")


def _require_no_second_meta(path: Path, digest: str) -> None:
    """Refuse a data set that begins with group 0002: readers take it for the file's own and believe its syntax.

    The file meta information ends where its group length says (PS3.10 7.1); nothing after that belongs to it.
    """
    with path.open("rb") as file:
        start = file.read(_META_START)
        if len(start) < _META_START or start[-12:-4] != _GROUP_LENGTH:
            return  # no Part 10 file, or one without a length; the parser decides
        file.seek(int.from_bytes(start[-4:], "little"), SEEK_CUR)
        following = file.read(2)
    if following in _GROUP_2:
        raise UnreadableInstance(
            f"object {digest[:12]}: the data set holds file meta information (group 0002), which only a file may;"
            " send it again without"
        )
