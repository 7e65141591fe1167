"""Framing of families: the way there and back, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from lab.cases import as_volume
from lab.training.families.tuning import as_stack
from workers.errors import UnsuitableVolume
from workers.segmentation.families import BODY_CT, BREAST_US, FAMILIES, HEAD_MR, LIMB_MR, LUNG_CT, PET, Family
from workers.segmentation.framing import frame, neighbours
from workers.segmentation.unet import MULTIPLE

SPACING_MM = (3.0, 1.4, 1.4)


def volume(family: Family, shape: tuple[int, int, int] = (7, 90, 70)) -> np.ndarray:
    """Return a body of some tissue with something bright off centre, in values that the family's images have."""
    z, y, x = np.indices(shape)
    body = ((y - 45) / 40) ** 2 + ((x - 35) / 30) ** 2 < 1
    spot = (y - 30) ** 2 + (x - 45) ** 2 + 9 * (z - 3) ** 2 < 64
    low, tissue, high = {"CT": (-1000, 40, 200), "PT": (0, 0.6, 12.0)}.get(min(family.modalities), (3, 90, 240))
    return np.where(spot, high, np.where(body, tissue, low)).astype(np.float32)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.name)
def test_what_is_framed_comes_back_where_it_was(family: Family) -> None:
    voxels = volume(family)
    stack = frame(as_volume(voxels, SPACING_MM, modality=min(family.modalities)), family)

    assert stack.images.shape[1] == stack.images.shape[2]
    assert stack.images.shape[1] % MULTIPLE == 0
    assert stack.images.min() >= -1
    assert stack.images.max() <= 1
    bright = (stack.images >= np.quantile(stack.images, 0.995)).astype(np.float32)
    back = stack.to_stored(stack.to_volume(bright)) > 0.5
    assert back.shape == voxels.shape
    truth = voxels > 100 if family is not PET else voxels > 5
    middle = [float(np.mean(axis)) for axis in np.nonzero(back & truth)]
    assert middle == pytest.approx([float(np.mean(axis)) for axis in np.nonzero(truth)], abs=2.0)
    assert stack.body[3].any()


@pytest.mark.parametrize("family", [LIMB_MR, BODY_CT, PET], ids=lambda family: family.name)
def test_pixels_have_the_family_s_size_whatever_the_scanner_s(family: Family) -> None:
    for spacing_mm in ((3.0, 0.9, 0.9), (3.0, 2.2, 1.1)):
        stack = frame(as_volume(volume(family), spacing_mm, modality=min(family.modalities)), family)
        assert stack.spacing_mm == pytest.approx((3.0, family.pixel_mm, family.pixel_mm), rel=1e-6)


def test_a_picture_is_taken_to_be_of_one_size_whatever_the_probe_s_zoom() -> None:
    near, far = (
        frame(as_volume(volume(BREAST_US, (1, 90, 70)), spacing_mm, modality="US"), BREAST_US)
        for spacing_mm in ((1.0, 0.07, 0.07), (5.0, 0.4, 0.4))
    )
    assert near.spacing_mm == pytest.approx(far.spacing_mm)
    assert near.orientation.spacing_mm == pytest.approx(far.orientation.spacing_mm)
    assert as_stack(near.images, BREAST_US).spacing_mm == pytest.approx(near.spacing_mm)


@pytest.mark.parametrize("pixel_mm", [(50.0, 50.0), (0.01, 0.01), (1000.0, 0.001)], ids=str)
@pytest.mark.parametrize("family", [LIMB_MR, LUNG_CT, BODY_CT, PET], ids=lambda family: family.name)
def test_slices_of_a_size_that_no_patient_has_are_refused(family: Family, pixel_mm: tuple[float, float]) -> None:
    image = as_volume(volume(family, (1, 90, 70)), (3.0, *pixel_mm), modality=min(family.modalities))
    with pytest.raises(UnsuitableVolume, match="check the spacing"):
        frame(image, family)


@pytest.mark.parametrize("family", [HEAD_MR, BREAST_US], ids=lambda family: family.name)
def test_a_slice_whose_pixels_are_threads_is_refused(family: Family) -> None:
    image = as_volume(volume(family, (1, 90, 70)), (3.0, 40.0, 0.01), modality=min(family.modalities))
    with pytest.raises(UnsuitableVolume, match="check the spacing"):
        frame(image, family)


def test_a_stack_that_would_be_framed_beyond_what_is_analysed_is_refused() -> None:
    voxels = np.tile(volume(BODY_CT, (1, 90, 70))[:, ::5, ::4], (300, 1, 1))
    with pytest.raises(UnsuitableVolume, match="send a coarser series"):
        frame(as_volume(voxels, (1.0, 110.0, 110.0), modality="CT"), BODY_CT)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.name)
def test_images_of_another_modality_are_refused(family: Family) -> None:
    with pytest.raises(UnsuitableVolume, match=f"the volume is DX: {family.name} takes"):
        frame(as_volume(volume(family), SPACING_MM, modality="DX"), family)


@pytest.mark.parametrize("family", [HEAD_MR, LIMB_MR, BREAST_US], ids=lambda family: family.name)
def test_a_volume_without_anything_in_it_is_refused(family: Family) -> None:
    voxels = np.full((5, 40, 40), 7.0, np.float32)
    with pytest.raises(UnsuitableVolume):
        frame(as_volume(voxels, SPACING_MM, modality=min(family.modalities)), family)


def test_uptake_that_is_twice_as_high_is_as_much_brighter_everywhere() -> None:
    voxels = np.tile(np.array([[4.0, 8.0], [16.0, 32.0]], np.float32).repeat(30, 0).repeat(30, 1), (3, 1, 1))
    images = frame(as_volume(voxels, (3.0, 4.0, 4.0), modality="PT"), PET).images[1]
    side = len(images) // 2
    greys = [float(images[side + y, side + x]) for y, x in ((-15, -15), (-15, 15), (15, -15), (15, 15))]
    steps = np.diff(greys)
    assert steps == pytest.approx([steps[0]] * 3, rel=0.1)


def test_neighbours_lie_some_millimetres_away_and_end_with_the_stack() -> None:
    assert neighbours(4, 4.0, PET).tolist() == [[0, 0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 3]]
    assert neighbours(5, 1.0, PET)[4].tolist() == [0, 4, 4]
    assert neighbours(2, 4.0, BREAST_US).tolist() == [[0], [1]]
