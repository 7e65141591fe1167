from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from storage.objects import ObjectStore
from tests.support.dicom import SeriesPlan, put_all, series
from workers.errors import UnsuitableVolume
from workers.imaging.instances import read_headers
from workers.imaging.series import choose_series
from workers.imaging.volumes import build_volume

PLAN = SeriesPlan(shape=(4, 32, 32))
Pixels = NDArray[np.integer[Any]]


def corners() -> NDArray[np.bool_]:
    """Everything outside a circle that does not reach the edge of the image."""
    y, x = np.mgrid[:32, :32]
    return np.asarray((y - 15.5) ** 2 + (x - 15.5) ** 2 > 14**2, dtype=bool)


def built(objects: ObjectStore, datasets: list[Dataset]) -> NDArray[np.float32]:
    chosen, _ = choose_series(read_headers(put_all(objects, datasets), objects))
    return build_volume(chosen, objects).voxels


def padded_series(value: int, *, declare: Callable[[Dataset], None] | None, signed: bool = False) -> list[Dataset]:
    datasets = series(PLAN)
    for dataset, values in zip(datasets, PLAN.values(), strict=True):
        pixels = values.astype(np.int16)
        pixels[corners()] = value
        dataset.PixelData = pixels.tobytes()
        if signed:
            dataset.PixelRepresentation, dataset.BitsStored, dataset.HighBit = 1, 16, 15
        if declare is not None:
            declare(dataset)
    return datasets


def declared(vr: str, value: int, limit: int | None = None) -> Callable[[Dataset], None]:
    def declare(dataset: Dataset) -> None:
        dataset.add_new(0x00280120, vr, value)
        if limit is not None:
            dataset.add_new(0x00280121, vr, limit)

    return declare


def expected() -> NDArray[np.float32]:
    voxels = PLAN.values().astype(np.float32)
    outside = np.broadcast_to(corners(), voxels.shape)
    return np.where(outside, voxels[~outside].min(), voxels)


@pytest.mark.parametrize(
    ("value", "declare", "signed"),
    [
        (4095, declared("US", 4095), False),
        (-2000, declared("SS", -2000), True),
        (-2000, declared("US", 63536), True),
        (-2000, declared("SS", -3000, -1500), True),
        (4095, None, False),
        (-2000, None, True),
    ],
    ids=["high", "negative", "negative with the VR of a positive one", "range", "undeclared high", "undeclared low"],
)
def test_whatever_fills_the_corners_becomes_background(
    objects: ObjectStore, value: int, declare: Callable[[Dataset], None] | None, *, signed: bool
) -> None:
    assert np.array_equal(built(objects, padded_series(value, declare=declare, signed=signed)), expected())


def test_a_border_that_is_dark_already_is_left_alone(objects: ObjectStore) -> None:
    dark = int(expected().min()) - 5
    voxels = built(objects, padded_series(dark, declare=None))
    assert (voxels[:, corners()] == dark).all()


def test_padding_does_not_turn_bright_where_the_image_is_inverted(objects: ObjectStore) -> None:
    plain = series(PLAN)
    datasets = padded_series(4095, declare=declared("US", 4095))
    for dataset in [*plain, *datasets]:
        dataset.PhotometricInterpretation = "MONOCHROME1"
    voxels = built(objects, datasets)
    inside = ~np.broadcast_to(corners(), voxels.shape)
    lowest, highest = PLAN.values()[inside].min(), PLAN.values()[inside].max()
    assert (voxels[~inside] == lowest).all()
    assert np.array_equal(voxels[inside], (lowest + highest - PLAN.values().astype(np.float32))[inside])


def test_a_series_that_is_padding_alone_has_nothing_to_analyse(objects: ObjectStore) -> None:
    datasets = series(PLAN)
    for dataset in datasets:
        dataset.PixelData = np.full((32, 32), 7, dtype=np.uint16).tobytes()
        dataset.add_new(0x00280120, "US", 7)
    with pytest.raises(UnsuitableVolume, match="nothing to analyse"):
        built(objects, datasets)
