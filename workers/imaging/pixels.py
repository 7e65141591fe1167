"""Stored values of instances: viewed where they lie uncompressed, decoded in another process where they do not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.pixels.decoders.base import get_decoder

from storage.objects import ObjectStore
from workers.decoding.decoders import Decoders, process_decoders
from workers.decoding.encoded_frames import EncodedFrames, FrameLayout
from workers.errors import PixelDataInconsistent, UnreadableInstance
from workers.imaging.parsing import DEFAULT_LIMITS, ReadLimits, parsing
from workers.imaging.pixel_description import DescribedPixels, describe_pixels
from workers.imaging.stored_bits import carries_more, stored_values

Frame = NDArray[np.integer[Any]]

_MOST_BYTES = 32_000_000
"""So many decoded bytes go into one request to a decoder, or a single frame."""
_MOST_FRAMES = 256


def decode_frames(
    objects: ObjectStore, digest: str, *, limits: ReadLimits = DEFAULT_LIMITS, decoders: Decoders | None = None
) -> Iterator[Frame]:
    """Yield each frame of one instance; see ``decode_instances``."""
    for _, _, frame in decode_instances(objects, (digest,), limits=limits, decoders=decoders):
        yield frame


def decode_instances(
    objects: ObjectStore,
    digests: Iterable[str],
    *,
    limits: ReadLimits = DEFAULT_LIMITS,
    decoders: Decoders | None = None,
) -> Iterator[tuple[str, int, Frame]]:
    """Yield digest, frame number from 1, and stored values as integers, of every frame of some instances, in order.

    Frames are ``[rows, columns]``, or ``[rows, columns, samples]`` for colour. Compressed ones are decoded by
    ``decoders``, those of the process where none are given, a few instances ahead.

    UnreadableInstance for an unsupported transfer syntax (named in the message), damaged pixel data, or a BitsStored
    that cuts the image; PixelDataInconsistent for truncated pixel data or a codestream of another size than the
    header's, and OversizedInstance, before anything is decoded; DecoderCrashed, DecoderOutOfMemory, DecoderTooSlow;
    ObjectMissing and ObjectCorrupt from the store.
    """
    described = (describe_pixels(objects, digest, limits=limits) for digest in digests)
    for compressed, run in groupby(described, key=lambda pixels: pixels.is_compressed):
        read = partial(_decoded, decoders=decoders or process_decoders()) if compressed else _viewed
        for digest, number, layout, frame in read(run):
            yield digest, number, _stored(frame, layout, digest)


def _stored(frame: Frame, layout: FrameLayout, digest: str) -> Frame:
    """Return the stored values of a frame; UnreadableInstance where BitsStored cuts the image."""
    if layout.samples == 1 and carries_more(frame, layout.bits_stored, signed=layout.signed):
        raise UnreadableInstance(
            f"object {digest[:12]}: BitsStored is {layout.bits_stored}, but bits above those are part of the image;"
            " correct BitsStored and HighBit where the image comes from"
        )
    return stored_values(frame, layout.bits_stored, signed=layout.signed)


def _viewed(instances: Iterable[DescribedPixels]) -> Iterator[tuple[str, int, FrameLayout, Frame]]:
    """Yield the frames of uncompressed instances: their bytes, taken for numbers. No codec is involved."""
    for pixels in instances:
        views = get_decoder(pixels.syntax).iter_array(pixels.dataset, raw=True, correct_unused_bits=False)
        for number in range(1, pixels.frames + 1):
            # One frame at a time: the guard must not stay up while the caller has the frame.
            with parsing(pixels.digest, doing=f"reading {pixels.syntax.name}"):
                frame, _ = next(views, (None, None))
            if frame is None:
                raise PixelDataInconsistent(f"object {pixels.digest[:12]} holds {number - 1} of {pixels.frames} frames")
            # Big endian files yield big-endian arrays.
            yield pixels.digest, number, pixels.layout, frame.astype(frame.dtype.newbyteorder("="), copy=False)


def _decoded(instances: Iterable[DescribedPixels], decoders: Decoders) -> Iterator[tuple[str, int, FrameLayout, Frame]]:
    requests = (request for pixels in instances for request in _requests(pixels))
    for request, frames in decoders.decode(requests):
        for number, frame in enumerate(frames, start=request.first):
            yield request.digest, number, request.layout, frame


def _requests(pixels: DescribedPixels) -> Iterator[EncodedFrames]:
    """Yield the frames of an instance in requests of a bounded size."""
    most = max(1, min(_MOST_FRAMES, _MOST_BYTES // pixels.layout.frame_bytes))
    with parsing(pixels.digest, doing="reading the encoded frames"):
        frames = list(pixels.encoded_frames())
    for start in range(0, len(frames), most):
        part = tuple(frames[start : start + most])
        yield EncodedFrames(pixels.digest, start + 1, str(pixels.syntax), pixels.layout, part)
