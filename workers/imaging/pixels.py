"""Pixel decoding: one chosen codec for each transfer syntax, and no decoding before the sizes have been checked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import get_expected_length

from storage.objects import ObjectStore
from workers.errors import OversizedInstance, UnreadableInstance
from workers.imaging.codestreams import codestream_size
from workers.imaging.parsing import DEFAULT_LIMITS, ReadLimits, parsing, read_dataset
from workers.imaging.precincts import promises_too_much
from workers.imaging.stored_bits import carries_more, stored_values

_UNCOMPRESSED = frozenset({uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian})

PLUGINS: Mapping[str, str] = {
    uid.JPEGBaseline8Bit: "gdcm",
    uid.JPEGExtended12Bit: "gdcm",
    uid.JPEGLossless: "gdcm",
    uid.JPEGLosslessSV1: "gdcm",
    uid.JPEGLSLossless: "pyjpegls",
    uid.JPEGLSNearLossless: "pyjpegls",
    uid.JPEG2000Lossless: "pylibjpeg",
    uid.JPEG2000: "pylibjpeg",
    uid.HTJ2KLossless: "pylibjpeg",
    uid.HTJ2KLosslessRPCL: "pylibjpeg",
    uid.HTJ2K: "pylibjpeg",
    uid.RLELossless: "pylibjpeg",
}
"""The pydicom plugin that decodes each compressed transfer syntax."""

_SAMPLE_BITS = frozenset({8, 16, 32})
_BYTE = 8


@dataclass(frozen=True, slots=True)
class _Layout:
    """What the header says of the pixel data."""

    rows: int
    columns: int
    frames: int
    samples: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool

    @property
    def frame_bytes(self) -> int:
        return self.rows * self.columns * self.samples * self.bits_allocated // _BYTE


def decode_frames(
    objects: ObjectStore, digest: str, *, limits: ReadLimits = DEFAULT_LIMITS
) -> Iterator[NDArray[np.integer[Any]]]:
    """Yield each frame's stored values as integers ``[rows, columns]``, or ``[rows, columns, samples]`` for colour.

    UnreadableInstance for an unsupported transfer syntax (named in the message), truncated or damaged pixel data, a
    codestream of another size than the header's, or a BitsStored that cuts the image; OversizedInstance before
    anything is decoded; ObjectMissing and ObjectCorrupt from the store.
    """
    objects.verify(digest)
    dataset = read_dataset(objects, digest, limits=limits)
    with parsing(digest, doing="reading the pixel description"):
        syntax = uid.UID(str(dataset.file_meta.TransferSyntaxUID))
        layout = _layout(dataset)
    _require_supported(syntax, digest)
    _require_modest(layout, digest, limits)
    with parsing(digest, doing="checking the pixel data"):
        _require_pixels(dataset, layout, syntax, digest)
    if syntax == uid.JPEGExtended12Bit and layout.bits_stored > _BYTE:
        frames = _decode_extended(objects, digest, layout)
    else:
        frames = _decode(dataset, layout, syntax, digest)
    while True:
        # One frame at a time: the guard must not stay up while the caller has the frame.
        with parsing(digest, doing=f"decoding {syntax.name}"):
            frame = next(frames, None)
        if frame is None:
            return
        if layout.samples == 1 and carries_more(frame, layout.bits_stored, signed=layout.signed):
            raise UnreadableInstance(
                f"object {digest[:12]}: BitsStored is {layout.bits_stored}, but bits above those are part of the image;"
                " correct BitsStored and HighBit where the image comes from"
            )
        yield stored_values(frame, layout.bits_stored, signed=layout.signed)


def _layout(dataset: Dataset) -> _Layout:
    return _Layout(
        rows=int(dataset.Rows),
        columns=int(dataset.Columns),
        frames=int(dataset.get("NumberOfFrames") or 1),
        samples=int(dataset.SamplesPerPixel),
        bits_allocated=int(dataset.BitsAllocated),
        bits_stored=int(dataset.BitsStored),
        high_bit=int(dataset.get("HighBit", int(dataset.BitsStored) - 1)),
        signed=int(dataset.PixelRepresentation) == 1,
    )


def _require_supported(syntax: uid.UID, digest: str) -> None:
    if syntax not in _UNCOMPRESSED and syntax not in PLUGINS:
        name = syntax.name if syntax.name != str(syntax) else "unknown"
        raise UnreadableInstance(
            f"object {digest[:12]}: transfer syntax {syntax} ({name}) is not supported; send another"
        )


def _require_modest(layout: _Layout, digest: str, limits: ReadLimits) -> None:
    if min(layout.rows, layout.columns, layout.frames, layout.samples) < 1 or layout.bits_allocated not in _SAMPLE_BITS:
        raise UnreadableInstance(f"object {digest[:12]}: the pixel description is impossible or not supported")
    claimed = layout.frame_bytes * layout.frames
    if not 1 <= layout.bits_stored <= layout.bits_allocated or layout.high_bit != layout.bits_stored - 1:
        raise UnreadableInstance(
            f"object {digest[:12]}: BitsStored {layout.bits_stored} and HighBit {layout.high_bit} do not fit"
            f" {layout.bits_allocated} bits; HighBit must be one less than BitsStored"
        )
    if claimed > limits.decoded_bytes:
        raise OversizedInstance(
            f"object {digest[:12]} would decode to {claimed} bytes; the limit is {limits.decoded_bytes}"
        )


def _require_pixels(dataset: Dataset, layout: _Layout, syntax: uid.UID, digest: str) -> None:
    """Refuse what is missing, shorter than promised, or of another size than promised."""
    if "PixelData" not in dataset:
        raise UnreadableInstance(f"object {digest[:12]} has no PixelData")
    encapsulated = bool(dataset["PixelData"].is_undefined_length)
    if encapsulated != (syntax not in _UNCOMPRESSED):
        raise UnreadableInstance(f"object {digest[:12]}: PixelData is not encoded as {syntax.name}")
    if not encapsulated:
        wanted, there = get_expected_length(dataset), len(dataset.PixelData)
        if there < wanted:
            raise UnreadableInstance(f"object {digest[:12]} is truncated: {there} of {wanted} bytes of pixel data")
        return
    for frame in _encoded_frames(dataset, layout):
        _require_same_size(frame, layout, syntax, digest)


def _encoded_frames(dataset: Dataset, layout: _Layout) -> Iterator[bytes]:
    return generate_frames(dataset.PixelData, number_of_frames=layout.frames)


def _require_same_size(frame: bytes, layout: _Layout, syntax: uid.UID, digest: str) -> None:
    """Compare the codestream's own size with the header's; RLE has none and is checked by its decoder."""
    if syntax == uid.RLELossless:
        return
    size = codestream_size(frame)
    if promises_too_much(frame):
        raise OversizedInstance(
            f"object {digest[:12]}: {len(frame)} bytes of {syntax.name} promise more precincts than they can hold"
        )
    if size is None:
        raise UnreadableInstance(f"object {digest[:12]}: a frame is no {syntax.name} codestream")
    if (size.rows, size.columns, size.components) != (layout.rows, layout.columns, layout.samples):
        raise UnreadableInstance(
            f"object {digest[:12]}: a frame holds {size.rows}x{size.columns}x{size.components} pixels, "
            f"the header promises {layout.rows}x{layout.columns}x{layout.samples}"
        )


def _decode(dataset: Dataset, layout: _Layout, syntax: uid.UID, digest: str) -> Iterator[NDArray[np.integer[Any]]]:
    plugin = PLUGINS.get(syntax, "")
    decoded = 0
    # The bits above those stored are judged and dropped by us, the same way after every decoder.
    decode = get_decoder(syntax).iter_array
    for frame, _ in decode(dataset, raw=True, decoding_plugin=plugin, correct_unused_bits=False):
        decoded += 1
        if decoded > layout.frames:
            break
        # Big endian files yield big-endian arrays.
        yield frame.astype(frame.dtype.newbyteorder("="), copy=False)
    if decoded < layout.frames:
        raise UnreadableInstance(f"object {digest[:12]} holds {decoded} of {layout.frames} frames")


def _decode_extended(objects: ObjectStore, digest: str, layout: _Layout) -> Iterator[NDArray[np.integer[Any]]]:
    """Decode 12-bit JPEG extended, which pydicom's GDCM plugin refuses, with GDCM's own reader."""
    import gdcm

    reader = gdcm.ImageReader()
    reader.SetFileName(str(objects.path(digest)))
    if not reader.Read():
        raise UnreadableInstance(f"object {digest[:12]}: GDCM could not read it")
    # GDCM hands bytes out as text.
    content = reader.GetImage().GetBuffer().encode("utf-8", "surrogateescape")
    values = np.frombuffer(content, dtype=np.int16 if layout.signed else np.uint16)
    yield from values.reshape(layout.frames, layout.rows, layout.columns)
