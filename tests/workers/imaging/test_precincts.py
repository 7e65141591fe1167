from __future__ import annotations

import struct

import numpy as np
import pytest
from pydicom import uid
from pydicom.encaps import generate_frames

from storage.objects import ObjectStore
from tests.support.dicom import SeriesPlan, compressed, put, series
from workers.errors import OversizedInstance
from workers.imaging.pixels import decode_frames
from workers.imaging.precincts import promises_too_much

PLAN = SeriesPlan(shape=(3, 64, 64))


def stream(
    *, side: int = 4096, tile: int = 0, layers: int = 1, levels: int = 5, precinct: int | None = None, size: int = 247
) -> bytes:
    """Return the headers of a JPEG 2000 stream of one component, padded to ``size`` bytes."""
    tile = tile or side
    size_segment = struct.pack(">HHIIIIIIIIHBBB", 41, 0, side, side, 0, 0, tile, tile, 0, 0, 1, 15, 1, 1)
    style = bytes([levels, 4, 4, 0, 1]) + (b"" if precinct is None else bytes([precinct]) * (levels + 1))
    coding = struct.pack(">BBHB", int(precinct is not None), 0, layers, 0) + style
    head = b"\xff\x4f\xff\x51" + size_segment + b"\xff\x52" + struct.pack(">H", len(coding) + 2) + coding
    start = head + b"\xff\x90" + struct.pack(">HHIBB", 10, 0, 0, 0, 1) + b"\xff\x93"
    return start + bytes(max(0, size - len(start)))


@pytest.mark.parametrize(
    "hostile",
    [
        stream(precinct=0x11),
        stream(precinct=0x11, size=40_000_000),
        stream(layers=65_535),
        stream(tile=1),
        stream(tile=0, side=0),
    ],
    ids=["small precincts in few bytes", "small precincts in many bytes", "layers", "tiles", "nothing"],
)
def test_a_stream_that_promises_more_than_it_holds_is_known(hostile: bytes) -> None:
    assert promises_too_much(hostile)


@pytest.mark.parametrize(
    "honest",
    [
        stream(),
        stream(side=64),
        stream(precinct=0x88, size=1000),
        stream(precinct=0x77, layers=6, size=200_000),
        stream(tile=256, size=5000),
        b"\xff\xd8\xff\xc0",
        b"",
        stream()[:30],
    ],
    ids=["plain", "small", "precincts", "layers", "tiles", "JPEG", "empty", "cut"],
)
def test_a_stream_as_encoders_write_it_is_no_danger(honest: bytes) -> None:
    assert not promises_too_much(honest)


def test_an_empty_slice_in_very_few_bytes_is_decoded(objects: ObjectStore) -> None:
    image = series(PLAN)[0]
    image.PixelData = bytes(len(image.PixelData))
    small = compressed(image, uid.JPEG2000Lossless)
    assert len(next(generate_frames(small.PixelData, number_of_frames=1))) < 300
    (frame,) = decode_frames(objects, put(objects, small).digest)
    assert not np.asarray(frame).any()


def test_an_instance_that_promises_too_much_is_refused_before_it_is_decoded(objects: ObjectStore) -> None:
    image = compressed(series(PLAN)[0], uid.JPEG2000Lossless)
    content = image.PixelData
    at = content.index(b"\xff\x52")
    image.PixelData = content[: at + 6] + b"\xff\xff" + content[at + 8 :]
    with pytest.raises(OversizedInstance, match="promise more"):
        list(decode_frames(objects, put(objects, image).digest))
