"""Files and frames in Explicit VR Little Endian, whatever they are stored in; codecs run in processes of their own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from pydicom import dcmread, dcmwrite
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from console.dicomweb.pixel_places import PixelPlaces, find_places
from console.dicomweb.reading_faults import reading
from dicom_gateway.errors import UndecodableObject
from dicom_gateway.usable_text import with_usable_text
from storage import receipts
from workers.decoding.codecs import PLUGINS
from workers.decoding.decoders import process_decoders
from workers.decoding.encoded_frames import EncodedFrames
from workers.errors import WorkerError

NATIVE = frozenset({str(ExplicitVRLittleEndian), str(ImplicitVRLittleEndian), str(ExplicitVRBigEndian)})
_WORDS = {"OW": "u2", "OF": "u4", "OL": "u4", "OD": "u8", "OV": "u8"}
_BYTE = 8
_SAMPLE_BITS = frozenset({8, 16, 32})
_MOST_BYTES = 1 << 30


def can_be_explicit(transfer_syntax_uid: str) -> bool:
    """Say whether files of a transfer syntax can be given in Explicit VR Little Endian."""
    return transfer_syntax_uid in NATIVE or transfer_syntax_uid in PLUGINS


def explicit_file(path: Path, digest: str) -> bytes:
    """Return a file in Explicit VR Little Endian; UndecodableObject where it cannot be read, or is too large for it."""
    name = digest[:12]
    if path.stat().st_size > _MOST_BYTES:
        raise UndecodableObject(f"object {name} is too large to be transcoded")
    places = find_places(path, name=name)
    with reading(name):
        dataset = with_usable_text(dcmread(path))
    if places is not None and places.is_encapsulated:
        _decompress(dataset, path, places, digest)
    with reading(name):
        if places is not None and places.syntax == ExplicitVRBigEndian:
            _turn_words(dataset)
        dataset.file_meta.TransferSyntaxUID, dataset.preamble = ExplicitVRLittleEndian, receipts.BLANK
        stream = BytesIO()
        dcmwrite(stream, dataset, enforce_file_format=True, implicit_vr=False, little_endian=True)
    return stream.getvalue()


def decoded_frames(path: Path, places: PixelPlaces, numbers: Sequence[int], digest: str) -> Iterator[bytes]:
    """Yield frames as native samples, little endian; UndecodableObject where one cannot be decoded."""
    _require_decodable(places, digest)
    with path.open("rb") as file:
        if not places.is_encapsulated:
            yield from (_little(places.read(file, number), places) for number in numbers)
            return
        requests = (_request(places, number, places.read(file, number), digest) for number in numbers)
        try:
            for _, frames in process_decoders().decode(requests):
                yield from (frame.astype(frame.dtype.newbyteorder("<"), copy=False).tobytes() for frame in frames)
        except WorkerError as error:
            raise UndecodableObject(str(error)) from error


def _require_decodable(places: PixelPlaces, digest: str) -> None:
    if not places.is_encapsulated:
        return
    layout = places.layout
    if (
        places.syntax not in PLUGINS
        or layout.bits_allocated not in _SAMPLE_BITS
        or not 1 <= layout.bits_stored <= layout.bits_allocated
        or not 0 < layout.frame_bytes <= _MOST_BYTES
    ):
        raise UndecodableObject(f"object {digest[:12]}: frames of {places.syntax} as these are cannot be decoded")


def _request(places: PixelPlaces, number: int, content: bytes, digest: str) -> EncodedFrames:
    return EncodedFrames(digest, number, places.syntax, places.layout, (content,))


def _little(content: bytes, places: PixelPlaces) -> bytes:
    """Return native samples with the lowest byte first."""
    if places.syntax != ExplicitVRBigEndian or places.layout.bits_allocated <= _BYTE:
        return content
    return np.frombuffer(content, f">u{places.layout.bits_allocated // _BYTE}").byteswap().tobytes()


def _decompress(dataset: Dataset, path: Path, places: PixelPlaces, digest: str) -> None:
    """Put decoded frames into the place of the codestreams, and have the header say what they are."""
    layout = places.layout
    if layout.frame_bytes * places.frames > _MOST_BYTES:
        raise UndecodableObject(f"object {digest[:12]} is too large to be decoded")
    content = b"".join(decoded_frames(path, places, range(1, places.frames + 1), digest))
    vr = "OB" if layout.bits_allocated <= _BYTE else "OW"
    dataset[0x7FE00010] = DataElement(0x7FE00010, vr, content + b"\0" * (len(content) % 2))
    for keyword in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths"):
        if keyword in dataset:
            del dataset[keyword]
    dataset.PhotometricInterpretation = decoded_interpretation(layout.photometric_interpretation)
    if layout.samples > 1:
        dataset.PlanarConfiguration = 0


def decoded_interpretation(photometric_interpretation: str) -> str:
    """Return what decoded samples are: JPEG 2000 undoes its own transformation, subsampled chrominance is filled in."""
    if photometric_interpretation in ("YBR_RCT", "YBR_ICT"):
        return "RGB"
    return "YBR_FULL" if photometric_interpretation == "YBR_FULL_422" else photometric_interpretation


def _turn_words(dataset: Dataset) -> None:
    """Turn the bytes of each word: pydicom leaves binary values as they were read."""
    for element in dataset.iterall():
        kind = _WORDS.get(element.VR)
        if kind is not None and isinstance(element.value, bytes):
            element.value = np.frombuffer(element.value, f">{kind}").byteswap().tobytes()
