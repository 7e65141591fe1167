from __future__ import annotations

import io

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_voi_lut
from pydicom.sequence import Sequence as Items

from tests.support.dicom import part10
from tests.support.images import ImagePlan, drawn, image
from workers.errors import UnsuitableVolume
from workers.imaging.voi import Shown, shown

STORED = drawn().astype(np.uint16) * 16
PLAN = ImagePlan(bits=12)


def _dataset(**attributes: object) -> Dataset:
    """Return an image's header as it is read back from a file."""
    return pydicom.dcmread(io.BytesIO(part10(image(PLAN, STORED, **attributes))))


def _shown(**attributes: object) -> Shown:
    return shown(STORED, _dataset(**attributes))


def _table(entries: np.ndarray, *, first: int = 0, bits: int = 8) -> Items:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(entries), first, bits])
    item.add_new("LUTData", "US", [int(value) for value in entries])
    return Items([item])


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_a_window_shows_what_the_reference_reader_shows(function: str) -> None:
    dataset = _dataset(WindowCenter=[1800, 9], WindowWidth=[1500, 9], VOILUTFunction=function)
    known = apply_voi_lut(STORED, dataset)
    assert shown(STORED, dataset).values == pytest.approx(known / 4095.0 * 255.0, abs=0.05)


def test_a_window_counts_in_units_after_rescale() -> None:
    plain = _shown(WindowCenter=1800, WindowWidth=1500)
    rescaled = _shown(WindowCenter=2600, WindowWidth=1500, RescaleSlope=1, RescaleIntercept=800)
    assert rescaled.values == pytest.approx(plain.values, abs=1e-3)


def test_a_voi_table_shows_what_the_reference_reader_shows() -> None:
    entries = np.linspace(0, 1, 3000) ** 2 * 4095
    dataset = _dataset(VOILUTSequence=_table(entries.astype(int), first=200, bits=12), WindowCenter=1, WindowWidth=9)
    known = apply_voi_lut(STORED, dataset, prefer_lut=True)
    assert shown(STORED, dataset).values == pytest.approx(known / 4095.0 * 255.0, abs=0.01)


def test_a_modality_table_comes_before_the_window() -> None:
    halved = _table(np.arange(4096) // 2, bits=16)
    direct = shown((STORED // 2).astype(np.uint16), _dataset(WindowCenter=900, WindowWidth=800))
    looked_up = _shown(ModalityLUTSequence=halved, WindowCenter=900, WindowWidth=800)
    assert looked_up.values == pytest.approx(direct.values, abs=1e-3)


def test_a_broken_table_is_set_aside_with_a_note() -> None:
    broken = _table(np.arange(10))
    broken[0].LUTDescriptor = [4096, 0, 12]
    seen = _shown(VOILUTSequence=broken)
    assert seen.notes == ("lut_ignored",)
    assert np.array_equal(seen.values, _shown().values)


def test_a_window_that_shows_nothing_is_set_aside_with_a_note() -> None:
    seen = _shown(WindowCenter=60000, WindowWidth=10)
    assert seen.notes == ("window_ignored",)
    assert np.array_equal(seen.values, _shown().values)


@pytest.mark.parametrize(("function", "width"), [("LINEAR", 0), ("LINEAR_EXACT", 0), ("LINEAR", -5), ("SIGMOID", -1)])
def test_a_window_without_width_is_none(function: str, width: float) -> None:
    seen = _shown(WindowCenter=1800, WindowWidth=width, VOILUTFunction=function)
    assert np.array_equal(seen.values, _shown().values)


def test_eight_bit_images_keep_their_range_and_others_are_stretched() -> None:
    eight = drawn()
    header = image(ImagePlan(), eight)
    assert np.array_equal(shown(eight, header).values, eight)
    assert (_shown().values.min(), _shown().values.max()) == (0.0, 255.0)


def test_what_has_nothing_to_show_is_refused() -> None:
    with pytest.raises(UnsuitableVolume, match="same value"):
        shown(np.full((8, 8), 900, np.uint16), _dataset())
    with pytest.raises(UnsuitableVolume, match="finite"):
        _shown(RescaleSlope="1e38", RescaleIntercept="1e38")
    padded = _dataset(PixelPaddingValue=0, PixelPaddingRangeLimit=4095)
    with pytest.raises(UnsuitableVolume, match="same value"):
        shown(STORED, padded)


def test_a_body_saturated_along_two_edges_is_no_background() -> None:
    values = STORED.copy()
    values[-12:], values[:, -8:] = 4095, 4095
    seen = shown(values, _dataset()).values
    assert (seen[-12:] == 255.0).all()
    framed = values.copy()
    framed[:2], framed[:, :2] = 4095, 4095
    assert (shown(framed, _dataset()).values[:2] == 0.0).all()
