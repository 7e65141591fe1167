from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames

from storage.errors import ObjectCorrupt
from storage.objects import ObjectStore
from tests.support.dicom import (
    SeriesPlan,
    compressed,
    deflated,
    enhanced,
    part10,
    put,
    series,
    shortened_pixels,
    structured_report,
    truncated,
)
from workers.decoding.codecs import PLUGINS
from workers.decoding.decoders import Decoders
from workers.errors import (
    DecoderCrashed,
    DecoderOutOfMemory,
    OversizedInstance,
    PixelDataInconsistent,
    UnreadableInstance,
)
from workers.imaging.codestreams import codestream_size
from workers.imaging.parsing import ReadLimits
from workers.imaging.pixels import decode_frames, decode_instances

PLAN = SeriesPlan(shape=(3, 48, 40))
_CODECS = {"JPEG-LS": uid.JPEGLSLossless, "JPEG 2000": uid.JPEG2000Lossless, "RLE": uid.RLELossless}


def _decoded(objects: ObjectStore, content: Dataset | bytes, like: Dataset | None = None) -> list[np.ndarray]:
    return list(decode_frames(objects, put(objects, content, like=like).digest))


@pytest.mark.parametrize("syntax", _CODECS.values(), ids=_CODECS)
def test_a_lossless_codec_gives_back_the_pixels_of_every_frame(objects: ObjectStore, syntax: uid.UID) -> None:
    frames = _decoded(objects, compressed(enhanced(PLAN), syntax))
    assert np.array_equal(np.stack(frames), PLAN.values())


def test_bits_beyond_those_stored_are_ignored(objects: ObjectStore) -> None:
    instance = series(PLAN)[0]
    values = PLAN.values()[0]
    instance.PixelData = (values | 0xF000).astype("<u2").tobytes()
    assert np.array_equal(_decoded(objects, instance)[0], values)


def test_signed_values_keep_their_sign(objects: ObjectStore) -> None:
    instance = series(PLAN)[0]
    instance.PixelRepresentation, instance.BitsStored, instance.HighBit = 1, 16, 15
    instance.PixelData = (PLAN.values()[0].astype(np.int16) - 1000).astype("<i2").tobytes()
    assert _decoded(objects, instance)[0].min() == -900


@pytest.mark.parametrize("change", [truncated, shortened_pixels])
def test_truncated_pixel_data_is_refused(objects: ObjectStore, change: object) -> None:
    instance = series(PLAN)[0]
    with pytest.raises(UnreadableInstance):
        _decoded(objects, change(instance), like=instance)  # type: ignore[operator]  # each is a function of a dataset


def test_a_promise_of_too_many_pixels_is_refused_before_decoding(objects: ObjectStore) -> None:
    instance = series(PLAN)[0]
    instance.Rows = instance.Columns = 65535
    instance.NumberOfFrames = 20000
    with pytest.raises(OversizedInstance, match="would decode to 171793449000000 bytes"):
        _decoded(objects, instance)


def test_the_limit_is_the_callers(objects: ObjectStore) -> None:
    digest = put(objects, series(PLAN)[0]).digest
    with pytest.raises(OversizedInstance, match="the limit is 3839"):
        next(decode_frames(objects, digest, limits=ReadLimits(decoded_bytes=3839)))
    assert next(decode_frames(objects, digest, limits=ReadLimits(decoded_bytes=3840))).shape == (48, 40)


@pytest.mark.parametrize("syntax", [uid.JPEGLSLossless, uid.JPEG2000Lossless], ids=["JPEG-LS", "JPEG 2000"])
def test_a_codestream_larger_than_the_header_says_never_reaches_the_codec(
    objects: ObjectStore, syntax: uid.UID
) -> None:
    instance = compressed(series(replace(PLAN, shape=(1, 128, 128)))[0], syntax)
    instance.Rows = instance.Columns = 16
    with pytest.raises(UnreadableInstance, match="holds 128x128x1 pixels, the header promises 16x16x1"):
        _decoded(objects, instance)


@pytest.mark.parametrize("syntax", sorted(PLUGINS))
def test_garbage_in_any_compressed_syntax_is_refused(objects: ObjectStore, syntax: uid.UID) -> None:
    instance = series(PLAN)[0]
    instance.PixelData = encapsulate([b"\xff\xd8" + bytes(range(64))])
    instance["PixelData"].is_undefined_length = True
    instance.file_meta.TransferSyntaxUID = syntax
    with pytest.raises(UnreadableInstance):
        _decoded(objects, instance)


@pytest.mark.parametrize("syntax", _CODECS.values(), ids=_CODECS)
def test_a_codestream_cut_short_is_refused(objects: ObjectStore, syntax: uid.UID) -> None:
    instance = compressed(series(PLAN)[0], syntax)
    (frame,) = generate_frames(instance.PixelData, number_of_frames=1)
    instance.PixelData = encapsulate([frame[: len(frame) // 2]])
    instance["PixelData"].is_undefined_length = True
    with pytest.raises(UnreadableInstance):
        _decoded(objects, instance)


@pytest.mark.parametrize("after", [b"\0", b"\xff", bytes(64)])
def test_what_a_writer_puts_behind_a_codestream_does_no_harm(objects: ObjectStore, after: bytes) -> None:
    instance = compressed(series(PLAN)[0], uid.JPEG2000Lossless)
    (frame,) = generate_frames(instance.PixelData, number_of_frames=1)
    instance.PixelData = encapsulate([frame + after])
    instance["PixelData"].is_undefined_length = True
    assert np.array_equal(_decoded(objects, instance)[0], PLAN.values()[0])


def test_a_codestream_with_larger_samples_than_the_header_says_is_refused(objects: ObjectStore) -> None:
    instance = compressed(series(PLAN)[0], uid.JPEG2000Lossless)
    instance.BitsAllocated, instance.BitsStored, instance.HighBit = 8, 8, 7
    with pytest.raises(PixelDataInconsistent, match="samples of 12 bits, the header has room for 8"):
        _decoded(objects, instance)


def test_frames_are_found_by_their_extended_offset_table(objects: ObjectStore) -> None:
    instance = enhanced(PLAN)
    instance.compress(uid.JPEG2000Lossless, encapsulate_ext=True, generate_instance_uid=False)
    assert "ExtendedOffsetTable" in instance
    assert np.array_equal(np.stack(_decoded(objects, instance)), PLAN.values())


def test_instances_come_in_order_whether_compressed_or_not(objects: ObjectStore) -> None:
    plan = replace(PLAN, shape=(9, 48, 40))
    mixed = [compressed(one, uid.RLELossless) if index % 4 < 2 else one for index, one in enumerate(series(plan))]
    digests = [put(objects, one).digest for one in mixed]
    found = list(decode_instances(objects, digests))
    assert [(digest, number) for digest, number, _ in found] == [(digest, 1) for digest in digests]
    assert np.array_equal(np.stack([frame for _, _, frame in found]), plan.values())


def test_a_long_multi_frame_instance_is_decoded_in_parts(objects: ObjectStore) -> None:
    plan = replace(PLAN, shape=(300, 48, 40))
    instance = enhanced(plan)
    instance.BitsStored, instance.HighBit = 16, 15
    frames = _decoded(objects, compressed(instance, uid.RLELossless))
    assert np.array_equal(np.stack(frames), plan.values())


def test_uncompressed_pixels_need_no_decoder(objects: ObjectStore) -> None:
    nowhere = Decoders(most=1, program="workers.decoding.no_such_program")
    plain, squeezed = series(PLAN)[0], compressed(series(PLAN)[1], uid.RLELossless)
    (frame,) = decode_frames(objects, put(objects, plain).digest, decoders=nowhere)
    assert np.array_equal(frame, PLAN.values()[0])
    with pytest.raises(DecoderCrashed, match="exit code 1"):
        list(decode_frames(objects, put(objects, squeezed).digest, decoders=nowhere))


@pytest.mark.slow
def test_a_few_bytes_that_promise_a_huge_image_cost_the_worker_nothing(objects: ObjectStore) -> None:
    instance = compressed(series(replace(PLAN, shape=(1, 64, 64)))[0], uid.JPEG2000Lossless)
    (frame,) = generate_frames(instance.PixelData, number_of_frames=1)
    stream = bytearray(frame)
    # Nine thousand pixels a side, one tile, and the smallest code blocks that the standard knows: five million of them.
    struct.pack_into(">IIIIII", stream, stream.index(b"\xff\x51") + 6, 9000, 9000, 0, 0, 9000, 9000)
    coding = stream.index(b"\xff\x52")
    stream[coding + 10 : coding + 12] = b"\0\0"
    instance.Rows = instance.Columns = 9000
    instance.PixelData = encapsulate([bytes(stream)])
    instance["PixelData"].is_undefined_length = True
    before = psutil.Process().memory_info().rss
    with pytest.raises((DecoderOutOfMemory, UnreadableInstance)):
        _decoded(objects, instance)
    assert psutil.Process().memory_info().rss - before < 100_000_000


def test_missing_frames_are_refused(objects: ObjectStore) -> None:
    instance = compressed(enhanced(PLAN), uid.JPEGLSLossless)
    instance.NumberOfFrames = 5
    with pytest.raises(UnreadableInstance):
        _decoded(objects, instance)


@pytest.mark.parametrize(
    ("syntax", "name"),
    [
        (uid.JPEGExtended12Bit.replace(".51", ".53"), "Spectral Selection"),
        (uid.MPEG4HP41, "MPEG-4"),
        ("1.2.3.4.5", "unknown"),
    ],
)
def test_an_unsupported_transfer_syntax_is_named(objects: ObjectStore, syntax: str, name: str) -> None:
    instance = compressed(series(PLAN)[0], uid.JPEGLSLossless)
    instance.file_meta.TransferSyntaxUID = uid.UID(syntax)
    with pytest.raises(UnreadableInstance, match=f"{syntax} .*{name}"):
        _decoded(objects, instance)


def test_a_deflated_file_is_not_inflated(objects: ObjectStore) -> None:
    instance = series(PLAN)[0]
    with pytest.raises(UnreadableInstance, match="Deflated"):
        _decoded(objects, deflated(instance), like=instance)


def test_pixel_data_that_is_not_encoded_as_announced_is_refused(objects: ObjectStore) -> None:
    instance = series(PLAN)[0]
    announced = part10(compressed(instance, uid.JPEGLSLossless)).replace(
        b"1.2.840.10008.1.2.4.80", b"1.2.840.10008.1.2.1\0\0\0"
    )
    with pytest.raises(UnreadableInstance, match="not encoded as Explicit VR Little Endian"):
        _decoded(objects, announced, like=instance)


def test_a_report_has_no_pixels_to_decode(objects: ObjectStore) -> None:
    with pytest.raises(UnreadableInstance, match="pixel description"):
        _decoded(objects, structured_report(PLAN))


def test_an_image_without_pixel_data_is_refused(objects: ObjectStore) -> None:
    instance = series(PLAN)[0]
    del instance.PixelData
    with pytest.raises(UnreadableInstance, match="no PixelData"):
        _decoded(objects, instance)


@pytest.mark.parametrize(("keyword", "value"), [("Rows", 0), ("BitsAllocated", 12), ("SamplesPerPixel", 0)])
def test_an_impossible_pixel_description_is_refused(objects: ObjectStore, keyword: str, value: int) -> None:
    instance = series(PLAN)[0]
    setattr(instance, keyword, value)
    with pytest.raises(UnreadableInstance, match="impossible"):
        _decoded(objects, instance)


def test_bytes_changed_on_disk_are_never_decoded(objects: ObjectStore) -> None:
    digest = put(objects, series(PLAN)[0]).digest
    path = objects.path(digest)
    path.write_bytes(path.read_bytes()[:-2] + b"!!")
    with pytest.raises(ObjectCorrupt):
        next(decode_frames(objects, digest))


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xd8", b"\xff\xd8\xff", b"\xff\xd8\xff\xc0\x00", b"\xff\x4f\xff\x51\x00", b"junk"]
)
def test_a_codestream_without_a_size_states_none(content: bytes) -> None:
    assert codestream_size(content) is None


_LOSSLESS = (
    "BigEndian",
    "JPEG2000LosslessOnly",
    "JPEGLSLossless",
    "Process14SV1",
    "Process14Tr",
    "Explicit",
    "Implicit",
    "RLE",
)
# Largest difference from the original that each lossy copy may show; JPEG-LS states its own bound of 1.
_NEARLY = {"JPEG2000Transfer": 5, "JPEGLSLossy": 1}
_UNSUPPORTED = {"Deflated": "Deflated", "Process10_12": "Process 10 and 12", "Process6_8": "Process 6 and 8"}


def _real_ct(real_data: Path, part: str) -> bytes:
    folder = real_data / "dicom" / "one-ct-sixteen-transfer-syntaxes"
    (file,) = folder.glob(f"testImages__CTImage.dcm_*{part}*")
    return file.read_bytes()


def _real_original(real_data: Path, objects: ObjectStore) -> np.ndarray:
    file = real_data / "dicom" / "one-ct-sixteen-transfer-syntaxes" / "testImages__CTImage.dcm"
    return next(decode_frames(objects, objects.put(file.read_bytes())))


@pytest.mark.parametrize("part", _LOSSLESS)
def test_a_real_ct_has_the_same_pixels_in_every_lossless_syntax(
    real_data: Path, objects: ObjectStore, part: str
) -> None:
    part = {"Explicit": "LittleEndianExplicit", "Implicit": "LittleEndianImplicit"}.get(part, part)
    frame = next(decode_frames(objects, objects.put(_real_ct(real_data, part))))
    assert np.array_equal(frame, _real_original(real_data, objects))
    assert frame.dtype.isnative


@pytest.mark.parametrize(("part", "most"), _NEARLY.items())
def test_a_real_ct_is_nearly_the_same_in_a_lossy_syntax(
    real_data: Path, objects: ObjectStore, part: str, most: int
) -> None:
    frame = next(decode_frames(objects, objects.put(_real_ct(real_data, part)))).astype(int)
    assert np.abs(frame - _real_original(real_data, objects)).max() <= most


@pytest.mark.parametrize(
    ("part", "slope", "most"), [("JPEGProcess1Tr", 32.1216, 90.0), ("Process2_4", 2.0002442, 12.0)]
)
def test_a_real_ct_in_lossy_jpeg_shows_the_same_picture_after_rescale(
    real_data: Path, objects: ObjectStore, part: str, slope: float, most: float
) -> None:
    frame = next(decode_frames(objects, objects.put(_real_ct(real_data, part)))).astype(float)
    original = _real_original(real_data, objects).astype(float) - 1024.0
    assert np.abs(frame * slope - 4047.0 - original).mean() < most


@pytest.mark.parametrize(("part", "name"), _UNSUPPORTED.items())
def test_a_real_ct_in_a_syntax_that_is_not_supported_is_refused_by_name(
    real_data: Path, objects: ObjectStore, part: str, name: str
) -> None:
    with pytest.raises(UnreadableInstance, match=name):
        next(decode_frames(objects, objects.put(_real_ct(real_data, part))))


def test_a_real_mr_has_the_same_pixels_in_seven_syntaxes(real_data: Path, objects: ObjectStore) -> None:
    files = sorted((real_data / "dicom" / "one-image-seven-transfer-syntaxes").rglob("*.dcm"))
    frames = [next(decode_frames(objects, objects.put(file.read_bytes()))) for file in files]
    assert len(frames) == 9
    assert all(np.array_equal(frame, frames[0]) for frame in frames)


def test_a_real_multi_frame_ct_in_twelve_bit_jpeg_gives_both_frames(real_data: Path, objects: ObjectStore) -> None:
    (file,) = (real_data / "dicom" / "one-ct-sixteen-transfer-syntaxes").glob("*CT0012*")
    frames = list(decode_frames(objects, objects.put(file.read_bytes())))
    assert [frame.shape for frame in frames] == [(512, 512), (512, 512)]
    assert not np.array_equal(frames[0], frames[1])


@pytest.mark.parametrize("syntax", _CODECS.values(), ids=_CODECS)
@pytest.mark.parametrize("signed", [False, True])
def test_bits_beyond_those_stored_are_ignored_after_every_codec(
    objects: ObjectStore, syntax: uid.UID, *, signed: bool
) -> None:
    instance, values = series(PLAN)[0], PLAN.values()[0]
    if signed:
        values = values.astype(np.int16) - 600
    words = (values.astype(np.uint16) & 0x0FFF) | 0x5000
    instance.PixelData, instance.PixelRepresentation = words.astype("<u2").tobytes(), 0
    instance.BitsStored, instance.HighBit = 16, 15
    squeezed = compressed(instance, syntax)
    squeezed.BitsStored, squeezed.HighBit, squeezed.PixelRepresentation = 12, 11, int(signed)
    assert np.array_equal(_decoded(objects, squeezed)[0], values)


@pytest.mark.parametrize(("stored", "high"), [(12, 15), (8, 3), (17, 16), (0, -1 & 0xFF)])
def test_a_high_bit_that_does_not_fit_is_refused_rather_than_guessed(
    objects: ObjectStore, stored: int, high: int
) -> None:
    instance = series(PLAN)[0]
    instance.BitsStored, instance.HighBit = stored, high
    with pytest.raises(UnreadableInstance, match="HighBit"):
        _decoded(objects, instance)
