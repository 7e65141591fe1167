"""What header and pixel data say of themselves, held against each other before anything is decoded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.pixels.utils import get_expected_length

from storage.objects import ObjectStore
from workers.decoding.codecs import PLUGINS
from workers.decoding.encoded_frames import FrameLayout
from workers.errors import OversizedInstance, PixelDataInconsistent, UnreadableInstance
from workers.imaging.codestreams import codestream_size, has_end
from workers.imaging.parsing import ReadLimits, parsing, read_dataset
from workers.imaging.precincts import promises_too_much

_UNCOMPRESSED = frozenset({uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian})
_SAMPLE_BITS = frozenset({8, 16, 32})


@dataclass(frozen=True, slots=True, eq=False)
class DescribedPixels:
    """An instance whose pixel data is what its header says, as far as that can be seen without decoding."""

    digest: str
    dataset: Dataset
    syntax: uid.UID
    layout: FrameLayout
    frames: int

    @property
    def is_compressed(self) -> bool:
        """Whether a codec is needed."""
        return self.syntax not in _UNCOMPRESSED

    def encoded_frames(self) -> Iterator[bytes]:
        """Yield the codestream of each frame, at most as many as the header promises. Call it inside ``parsing``."""
        extended = None
        if "ExtendedOffsetTable" in self.dataset and "ExtendedOffsetTableLengths" in self.dataset:
            extended = (self.dataset.ExtendedOffsetTable, self.dataset.ExtendedOffsetTableLengths)
        found = generate_frames(self.dataset.PixelData, number_of_frames=self.frames, extended_offsets=extended)
        return islice(found, self.frames)


def describe_pixels(objects: ObjectStore, digest: str, *, limits: ReadLimits) -> DescribedPixels:
    """Read an instance and check what it says of its pixels.

    UnreadableInstance for an unsupported transfer syntax (named in the message) or an impossible description,
    PixelDataInconsistent where the pixel data or a codestream's own header contradicts the data set, OversizedInstance
    where it would decode to more than ``limits.decoded_bytes``; ObjectMissing and ObjectCorrupt from the store.
    """
    objects.verify(digest)
    dataset = read_dataset(objects, digest, limits=limits)
    with parsing(digest, doing="reading the pixel description"):
        syntax = uid.UID(str(dataset.file_meta.TransferSyntaxUID))
        frames = int(dataset.get("NumberOfFrames") or 1)
        high_bit = int(dataset.get("HighBit", int(dataset.BitsStored) - 1))
        described = DescribedPixels(digest, dataset, syntax, _layout(dataset), frames)
    _require_supported(syntax, digest)
    _require_possible(described, high_bit)
    _require_modest(described, limits)
    with parsing(digest, doing="checking the pixel data"):
        _require_pixels(described)
    return described


def _layout(dataset: Dataset) -> FrameLayout:
    return FrameLayout(
        rows=int(dataset.Rows),
        columns=int(dataset.Columns),
        samples=int(dataset.SamplesPerPixel),
        bits_allocated=int(dataset.BitsAllocated),
        bits_stored=int(dataset.BitsStored),
        signed=int(dataset.PixelRepresentation) == 1,
        photometric_interpretation=str(dataset.PhotometricInterpretation),
        planar_configuration=int(dataset.get("PlanarConfiguration") or 0),
    )


def _require_supported(syntax: uid.UID, digest: str) -> None:
    if syntax not in _UNCOMPRESSED and syntax not in PLUGINS:
        name = syntax.name if syntax.name != str(syntax) else "unknown"
        raise UnreadableInstance(
            f"object {digest[:12]}: transfer syntax {syntax} ({name}) is not supported; send another"
        )


def _require_possible(pixels: DescribedPixels, high_bit: int) -> None:
    layout, where = pixels.layout, f"object {pixels.digest[:12]}"
    if min(layout.rows, layout.columns, pixels.frames, layout.samples) < 1 or layout.bits_allocated not in _SAMPLE_BITS:
        raise UnreadableInstance(f"{where}: the pixel description is impossible or not supported")
    if not 1 <= layout.bits_stored <= layout.bits_allocated or high_bit != layout.bits_stored - 1:
        raise UnreadableInstance(
            f"{where}: BitsStored {layout.bits_stored} and HighBit {high_bit} do not fit"
            f" {layout.bits_allocated} bits; HighBit must be one less than BitsStored"
        )


def _require_modest(pixels: DescribedPixels, limits: ReadLimits) -> None:
    claimed = pixels.layout.frame_bytes * pixels.frames
    if claimed > limits.decoded_bytes:
        raise OversizedInstance(
            f"object {pixels.digest[:12]} would decode to {claimed} bytes; the limit is {limits.decoded_bytes}"
        )


def _require_pixels(pixels: DescribedPixels) -> None:
    """Refuse what is missing, shorter than promised, or of another size than promised."""
    dataset, where = pixels.dataset, f"object {pixels.digest[:12]}"
    if "PixelData" not in dataset:
        raise UnreadableInstance(f"{where} has no PixelData")
    encapsulated = bool(dataset["PixelData"].is_undefined_length)
    if encapsulated != pixels.is_compressed:
        raise PixelDataInconsistent(f"{where}: PixelData is not encoded as {pixels.syntax.name}")
    if not encapsulated:
        wanted, there = get_expected_length(dataset), len(dataset.PixelData)
        if there < wanted:
            raise PixelDataInconsistent(f"{where} is truncated: {there} of {wanted} bytes of pixel data")
        return
    count = 0
    for count, frame in enumerate(pixels.encoded_frames(), start=1):  # noqa: B007 - counted for what comes after
        _require_same_size(frame, pixels)
    if count < pixels.frames:
        raise PixelDataInconsistent(f"{where} holds {count} of {pixels.frames} frames")


def _require_same_size(frame: bytes, pixels: DescribedPixels) -> None:
    """Compare the codestream's own size with the header's; RLE has none and is checked by its decoder."""
    if pixels.syntax == uid.RLELossless:
        return
    layout, where, name = pixels.layout, f"object {pixels.digest[:12]}", pixels.syntax.name
    size = codestream_size(frame)
    if promises_too_much(frame):
        raise OversizedInstance(f"{where}: {len(frame)} bytes of {name} promise more parts than they can hold")
    if size is None:
        raise UnreadableInstance(f"{where}: a frame is no {name} codestream")
    if (size.rows, size.columns, size.components) != (layout.rows, layout.columns, layout.samples):
        raise PixelDataInconsistent(
            f"{where}: a frame holds {size.rows}x{size.columns}x{size.components} pixels, "
            f"the header promises {layout.rows}x{layout.columns}x{layout.samples}"
        )
    if not has_end(frame):
        raise PixelDataInconsistent(f"{where}: a frame is truncated, its {name} codestream has no end; send it again")
    if size.precision > layout.bits_allocated:
        raise PixelDataInconsistent(
            f"{where}: a frame holds samples of {size.precision} bits, the header has room for {layout.bits_allocated}"
        )
