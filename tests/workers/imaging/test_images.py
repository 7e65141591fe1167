from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate

from storage.objects import ObjectStore
from storage.volumes import Extent
from tests.support.dicom import compressed, put
from tests.support.images import ImagePlan, drawn, image, picture, region, regions
from tests.support.required import present
from workers.errors import CineNotSupported, UnreadableInstance, UnsuitableVolume
from workers.imaging.images import ReadImage, read_image
from workers.imaging.instances import read_header
from workers.imaging.parsing import ReadLimits

_WEIGHTS = np.array([0.299, 0.587, 0.114])


def _read(objects: ObjectStore, dataset: Dataset) -> ReadImage:
    return read_image(read_header(put(objects, dataset), objects), objects)


def _grey(objects: ObjectStore, dataset: Dataset) -> np.ndarray:
    return np.asarray(_read(objects, dataset).volume.voxels[0])


def test_an_image_is_a_volume_of_one_slice_as_bright_as_it_is_shown(objects: ObjectStore) -> None:
    values = drawn()
    dataset = image(ImagePlan("CR"), values, PixelSpacing=[0.2, 0.1], PixelSpacingCalibrationType="GEOMETRY")
    dataset.ViewPosition = "PA"
    volume = _read(objects, dataset).volume
    assert volume.voxels.shape == (1, *values.shape)
    assert np.array_equal(volume.voxels[0], values)
    assert volume.voxels.dtype == np.float32
    assert (volume.modality, volume.description, volume.frame_of_reference_uid) == ("CR", "CHEST PA", None)
    assert volume.geometry.spacing_mm == (1.0, 0.2, 0.1)
    assert volume.geometry.origin_mm == (0.0, 0.0, 0.0)
    assert volume.extent is Extent.AREA
    (frame,) = volume.frames
    assert (frame.sop_instance_uid, frame.frame_number) == (dataset.SOPInstanceUID, None)


@pytest.mark.parametrize("modality", ["CR", "DX"])
def test_a_real_radiograph_shows_the_same_in_both_polarities(
    real_data: Path, objects: ObjectStore, modality: str
) -> None:
    values = picture(present(real_data / "covid-xray") / "images" / "covid-001.jpg")
    bright = image(ImagePlan(modality, number=1), values)
    dark = image(ImagePlan(modality, number=2), 255 - values, PhotometricInterpretation="MONOCHROME1")
    assert np.array_equal(_grey(objects, bright), values)
    assert _grey(objects, dark) == pytest.approx(_grey(objects, bright), abs=1e-3)


def test_deep_radiographs_of_both_polarities_and_their_windows_show_the_same(objects: ObjectStore) -> None:
    values = drawn().astype(np.uint16) * 16
    window = {"WindowCenter": 1500, "WindowWidth": 2000}
    bright = image(ImagePlan(bits=12, number=1), values, **window)
    dark = image(
        ImagePlan(bits=12, number=2),
        4095 - values,
        PhotometricInterpretation="MONOCHROME1",
        WindowCenter=4095 - 1500 + 1,
        WindowWidth=2000,
    )
    assert _grey(objects, dark) == pytest.approx(_grey(objects, bright), abs=1e-2)
    plain = image(ImagePlan(bits=12, number=3), values)
    inverted = image(ImagePlan(bits=12, number=4), 4095 - values, PhotometricInterpretation="MONOCHROME1")
    assert _grey(objects, inverted) == pytest.approx(_grey(objects, plain), abs=1e-2)
    assert (_grey(objects, plain).min(), _grey(objects, plain).max()) == (0.0, 255.0)


@pytest.mark.parametrize("polarity", ["MONOCHROME1", "MONOCHROME2"])
def test_whatever_fills_the_background_the_content_stays_and_the_background_is_black(
    objects: ObjectStore, polarity: str
) -> None:
    values = np.pad(drawn().astype(np.uint16) * 8 + 500, 6)
    outside = np.pad(np.zeros(drawn().shape, bool), 6, constant_values=True)
    seen = []
    for number, padding in enumerate((0, 4095, 3000)):
        pixels = np.where(outside, padding, values)
        dataset = image(ImagePlan(bits=12, number=number), pixels, PhotometricInterpretation=polarity)
        dataset.PixelPaddingValue = padding
        seen.append(_grey(objects, dataset))
    undeclared = np.where(outside, 4095 if polarity == "MONOCHROME2" else 0, values)
    seen.append(_grey(objects, image(ImagePlan(bits=12, number=9), undeclared, PhotometricInterpretation=polarity)))
    assert all(np.array_equal(grey, seen[0]) for grey in seen)
    assert (seen[0][outside] == 0).all()
    assert seen[0][~outside].max() == 255.0


def test_a_range_of_padding_values_is_all_background(objects: ObjectStore) -> None:
    values = drawn().astype(np.uint16) * 8
    values[:5], values[5:9] = 4000, 4095
    dataset = image(ImagePlan(bits=12), values, PixelPaddingValue=3990, PixelPaddingRangeLimit=4095)
    grey = _grey(objects, dataset)
    assert (grey[:9] == 0).all()
    assert grey[9:].max() == 255.0


def test_an_overlay_above_the_bits_stored_is_not_seen(objects: ObjectStore) -> None:
    values = drawn().astype(np.uint16) * 8
    clean, marked = (image(ImagePlan(bits=12, number=number), values | high) for number, high in enumerate((0, 0xF000)))
    assert np.array_equal(_grey(objects, marked), _grey(objects, clean))


def test_several_frames_are_refused_as_cine(objects: ObjectStore) -> None:
    for number, (modality, sop_class) in enumerate(
        (("US", uid.UltrasoundMultiFrameImageStorage), ("XA", uid.XRayAngiographicImageStorage))
    ):
        dataset = image(ImagePlan(modality, number=number, sop_class=sop_class), drawn(), NumberOfFrames=2)
        dataset.PixelData = dataset.PixelData * 2
        with pytest.raises(CineNotSupported, match="2 frames"):
            _read(objects, dataset)


def test_a_single_frame_of_a_multi_frame_class_is_read(objects: ObjectStore) -> None:
    plan = ImagePlan("US", sop_class=uid.UltrasoundMultiFrameImageStorage)
    assert np.array_equal(_grey(objects, image(plan, drawn(), NumberOfFrames=1)), drawn())


def test_a_real_ultrasound_with_regions_has_millimetres_and_without_none(real_data: Path, objects: ObjectStore) -> None:
    values = picture(present(real_data / "breast-ultrasound") / "images" / "malignant-0001.jpg", colour=True)
    known = image(ImagePlan("US", number=1), values, SequenceOfUltrasoundRegions=regions([region()]))
    unknown = image(ImagePlan("US", number=2), values)
    assert _read(objects, known).volume.geometry.spacing_mm == pytest.approx((1.0, 0.2, 0.1))
    assert _read(objects, known).volume.extent is Extent.AREA
    assert _read(objects, unknown).volume.geometry.spacing_mm == (1.0, 1.0, 1.0)
    assert _read(objects, unknown).volume.extent is Extent.UNKNOWN
    assert _grey(objects, unknown) == pytest.approx(values @ _WEIGHTS, abs=1e-3)


def test_a_capture_of_a_real_ultrasound_shows_the_same(real_data: Path, objects: ObjectStore) -> None:
    values = picture(present(real_data / "breast-ultrasound") / "images" / "benign-0001.jpg", colour=True)
    plan = ImagePlan("US", sop_class=uid.SecondaryCaptureImageStorage)
    assert _grey(objects, image(plan, values)) == pytest.approx(values @ _WEIGHTS, abs=1e-3)


def _colourful(rows: int = 64, columns: int = 64) -> np.ndarray:
    y, x = np.indices((rows, columns))
    return np.stack([y * 3, x * 2, 200 - y], axis=-1).astype(np.uint8)


def test_planes_of_colour_give_the_same_as_pixels_of_colour(objects: ObjectStore) -> None:
    colours = _colourful()
    planar = image(ImagePlan("US"), colours, PlanarConfiguration=1)
    planar.PixelData = np.moveaxis(colours, -1, 0).tobytes()
    assert _grey(objects, planar) == pytest.approx(colours @ _WEIGHTS, abs=1e-3)


def test_luminance_and_chrominance_give_nearly_the_same_as_red_green_and_blue(objects: ObjectStore) -> None:
    colours = _colourful()
    full = np.asarray(Image.fromarray(colours).convert("YCbCr"))
    halved = np.stack([full[:, 0::2, 0], full[:, 1::2, 0], full[:, 0::2, 1], full[:, 0::2, 2]], axis=-1)
    one = image(ImagePlan("US", number=1), full, PhotometricInterpretation="YBR_FULL")
    two = image(ImagePlan("US", number=2), full, PhotometricInterpretation="YBR_FULL_422")
    two.PixelData = halved.tobytes()
    for dataset in (one, two):
        assert _grey(objects, dataset) == pytest.approx(colours @ _WEIGHTS, abs=1.5)


@pytest.mark.parametrize(("model", "sampling"), [("YBR_FULL_422", 1), ("YBR_FULL", 0), ("RGB", 0)])
def test_a_lossy_jpeg_counts_by_its_luminance_whatever_the_header_calls_it(
    objects: ObjectStore, model: str, sampling: int
) -> None:
    colours = _colourful()
    stream = io.BytesIO()
    Image.fromarray(colours).save(stream, "JPEG", quality=95, subsampling=sampling)
    dataset = image(ImagePlan("US"), colours, PhotometricInterpretation=model)
    dataset.PixelData = encapsulate([stream.getvalue()])
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = uid.JPEGBaseline8Bit
    assert np.abs(_grey(objects, dataset) - colours @ _WEIGHTS).mean() < 2.0


@pytest.mark.parametrize("syntax", [uid.JPEG2000Lossless, uid.JPEGLSLossless, uid.RLELossless], ids=str)
@pytest.mark.parametrize("colour", [False, True], ids=["grey", "colour"])
def test_compressed_images_show_the_same_as_uncompressed_ones(
    objects: ObjectStore, syntax: uid.UID, *, colour: bool
) -> None:
    pixels = _colourful() if colour else drawn(64, 64)
    plain = image(ImagePlan("US"), pixels)
    assert np.array_equal(_grey(objects, compressed(plain, syntax)), _grey(objects, plain))


def test_the_colour_transform_of_jpeg_2000_is_undone(objects: ObjectStore) -> None:
    colours = _colourful()
    dataset = image(ImagePlan("US"), colours, PhotometricInterpretation="YBR_RCT")
    dataset.compress(uid.JPEG2000Lossless, arr=colours, generate_instance_uid=False, use_mct=True)
    assert _grey(objects, dataset) == pytest.approx(colours @ _WEIGHTS, abs=1e-3)


def test_a_palette_is_looked_up(objects: ObjectStore) -> None:
    indices = drawn()
    dataset = image(ImagePlan("US"), indices, PhotometricInterpretation="PALETTE COLOR")
    entries = np.stack([np.arange(256), np.arange(256)[::-1], np.full(256, 40)], axis=-1).astype(np.uint8)
    for channel, name in enumerate(("Red", "Green", "Blue")):
        setattr(dataset, f"{name}PaletteColorLookupTableDescriptor", [256, 0, 8])
        setattr(dataset, f"{name}PaletteColorLookupTableData", entries[:, channel].tobytes())
    assert _grey(objects, dataset) == pytest.approx(entries[indices] @ _WEIGHTS, abs=1e-3)


def test_a_colour_model_that_is_not_read_and_an_empty_picture_are_refused(objects: ObjectStore) -> None:
    with pytest.raises(UnsuitableVolume, match="CMYK"):
        _read(objects, image(ImagePlan("US"), _colourful(), PhotometricInterpretation="CMYK"))
    with pytest.raises(UnsuitableVolume, match="same value"):
        _read(objects, image(ImagePlan("US", number=2), np.full((8, 8, 3), 7)))
    with pytest.raises(UnsuitableVolume, match="same value"):
        _read(objects, image(ImagePlan("CR", number=3), np.full((8, 8), 7)))


def test_a_palette_that_is_missing_is_a_fault_of_the_file(objects: ObjectStore) -> None:
    with pytest.raises(UnreadableInstance):
        _read(objects, image(ImagePlan("US"), drawn(), PhotometricInterpretation="PALETTE COLOR"))


def test_more_pixels_than_the_limit_are_refused_before_decoding(objects: ObjectStore) -> None:
    header = read_header(put(objects, image(ImagePlan("CR"), drawn())), objects)
    with pytest.raises(UnsuitableVolume, match="40x30"):
        read_image(header, objects, limits=ReadLimits(voxels=1000))


def test_a_raw_image_says_so(objects: ObjectStore) -> None:
    raw = image(ImagePlan("MG"), drawn(), PresentationIntentType="FOR PROCESSING", ImagerPixelSpacing=[0.1, 0.1])
    assert _read(objects, raw).notes == ("spacing_at_detector", "for_processing")
