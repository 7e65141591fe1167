"""One chosen codec for each compressed transfer syntax. Called in decoders only, never in a worker itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder

from workers.decoding.encoded_frames import FrameLayout

Frame = NDArray[np.integer[Any]]

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

_EIGHT_BITS = 8


class FrameMismatch(Exception):
    """A decoded frame is of another size than its header promises."""


def decode(frames: Sequence[bytes], syntax: str, layout: FrameLayout) -> Iterator[Frame]:
    """Yield each decoded frame in the layout's type.

    FrameMismatch for samples that are larger; whatever a codec raises where it cannot read one.
    """
    extended = syntax == uid.JPEGExtended12Bit and layout.bits_stored > _EIGHT_BITS
    decoded = _decode_extended(frames, layout) if extended else _decode(frames, syntax, layout)
    for frame in decoded:
        if frame.dtype.itemsize > layout.dtype.itemsize:
            raise FrameMismatch
        yield frame.astype(layout.dtype, copy=False)


def load() -> None:
    """Import every codec, so that their memory counts as that of the process and not of its first request."""
    for syntax in PLUGINS:
        get_decoder(uid.UID(syntax))
    for module in ("gdcm", "jpeg_ls", "openjpeg", "rle"):
        __import__(module)


def _decode(frames: Sequence[bytes], syntax: str, layout: FrameLayout) -> Iterator[Frame]:
    decoder = get_decoder(uid.UID(syntax))
    # The bits above those stored are judged and dropped by the worker, the same way after every decoder.
    for frame, _ in decoder.iter_array(
        encapsulate(list(frames), has_bot=False),
        raw=True,
        decoding_plugin=PLUGINS[syntax],
        correct_unused_bits=False,
        number_of_frames=len(frames),
        rows=layout.rows,
        columns=layout.columns,
        samples_per_pixel=layout.samples,
        bits_allocated=layout.bits_allocated,
        bits_stored=layout.bits_stored,
        pixel_representation=int(layout.signed),
        photometric_interpretation=layout.photometric_interpretation,
        planar_configuration=layout.planar_configuration,
        pixel_keyword="PixelData",
    ):
        yield frame


def _decode_extended(frames: Sequence[bytes], layout: FrameLayout) -> Iterator[Frame]:
    """Decode 12-bit JPEG extended, which pydicom's GDCM plugin refuses, with GDCM itself."""
    for content in frames:
        image = _gdcm_image(content, layout)
        # GDCM hands bytes out as text.
        decoded = image.GetBuffer().encode("utf-8", "surrogateescape")
        if len(decoded) != layout.frame_bytes:
            raise FrameMismatch
        yield np.frombuffer(decoded, layout.dtype).reshape(layout.shape)


def _gdcm_image(content: bytes, layout: FrameLayout) -> Any:
    import gdcm

    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(content)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((layout.columns, layout.rows, 1))
    image.SetDataElement(element)
    kind = gdcm.PhotometricInterpretation.GetPIType(layout.photometric_interpretation)
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(kind))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(str(uid.JPEGExtended12Bit))))
    bits = (layout.bits_allocated, layout.bits_stored, layout.bits_stored - 1)
    image.SetPixelFormat(gdcm.PixelFormat(layout.samples, *bits, int(layout.signed)))
    return image
