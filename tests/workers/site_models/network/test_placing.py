from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.volumes import Geometry, Volume
from tests.support.ct_phantoms import ct_phantom, turned
from workers.site_models.model_file import InputSection
from workers.site_models.network.placing import place

ORDERS = st.sampled_from(list(permutations(range(3))))
FLIPS = st.tuples(st.booleans(), st.booleans(), st.booleans())
ORIENTATIONS = st.sampled_from(
    ["".join(letters) for order in permutations(("LR", "PA", "SI")) for letters in product(*order)]
)
AXES = st.sampled_from(["zyx", "zxy", "yzx", "yxz", "xzy", "xyz", "yx", "xy"])


def stored(shape: tuple[int, int, int] = (3, 4, 5), spacing_mm: tuple[float, float, float] = (4.0, 2.0, 1.0)) -> Volume:
    voxels = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    geometry = Geometry((0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), spacing_mm)
    return Volume(voxels, geometry, "CT", "1.2", "1.3", None, ())


def shape_of(volume: Volume) -> tuple[int, int, int]:
    depth, rows, columns = volume.voxels.shape
    return depth, rows, columns


@given(ORDERS, FLIPS, st.none() | ORIENTATIONS, AXES)
@settings(deadline=None)
def test_a_volume_comes_back_as_it_was_whatever_way_the_network_wants_it(
    order: tuple[int, int, int], flipped: tuple[bool, bool, bool], orientation: str | None, axes: str
) -> None:
    volume = turned(stored(), order, flipped)
    placement = place(volume.geometry, shape_of(volume), InputSection(orientation=orientation, axes=axes))
    there = placement.to_network(volume.voxels)
    np.testing.assert_array_equal(placement.to_volume(there), volume.voxels)
    assert there.shape == placement.shape == placement.turned


@given(ORDERS, FLIPS, ORIENTATIONS, AXES, st.sampled_from([None, (3.0, 1.5, 2.5), (8.0, 0.7, 1.0)]))
@settings(deadline=None)
def test_the_network_sees_the_same_whatever_way_the_scan_is_stored(
    order: tuple[int, int, int],
    flipped: tuple[bool, bool, bool],
    orientation: str,
    axes: str,
    spacing_mm: tuple[float, float, float] | None,
) -> None:
    wanted = InputSection(orientation=orientation, axes=axes, spacing_mm=spacing_mm)
    plain = stored()
    other = turned(plain, order, flipped)
    seen = place(plain.geometry, shape_of(plain), wanted).to_network(plain.voxels)
    seen_other = place(other.geometry, shape_of(other), wanted).to_network(other.voxels)
    np.testing.assert_allclose(seen_other, seen, atol=1e-3)


def test_letters_say_where_x_y_and_z_run() -> None:
    volume = stored()
    placement = place(volume.geometry, shape_of(volume), InputSection(orientation="RAS"))
    np.testing.assert_array_equal(placement.to_network(volume.voxels), volume.voxels[:, ::-1, ::-1])
    placement = place(volume.geometry, shape_of(volume), InputSection(orientation="LPS", axes="xyz"))
    np.testing.assert_array_equal(placement.to_network(volume.voxels), volume.voxels.transpose(2, 1, 0))
    sagittal = place(volume.geometry, shape_of(volume), InputSection(orientation="PSL"))
    np.testing.assert_array_equal(sagittal.to_network(volume.voxels), volume.voxels.transpose(2, 0, 1))


def test_an_oblique_stack_is_brought_to_the_nearest_axes_and_stays_oblique() -> None:
    tilt = np.deg2rad(30)
    row = (0.0, float(np.cos(tilt)), float(-np.sin(tilt)))
    column = (0.0, float(-np.sin(tilt)), float(-np.cos(tilt)))
    geometry = Geometry((0.0, 0.0, 0.0), row, column, (-1.0, 0.0, 0.0), (3.0, 1.0, 1.0))
    voxels = stored().voxels
    placement = place(geometry, (3, 4, 5), InputSection(orientation="LPS"))
    np.testing.assert_array_equal(placement.to_network(voxels), voxels.transpose(1, 2, 0)[::-1, :, ::-1])


def test_spacing_is_asked_for_along_the_axes_of_the_network() -> None:
    volume = stored((6, 8, 10))  # 4, 2 and 1 mm
    placement = place(volume.geometry, (6, 8, 10), InputSection(spacing_mm=(2.0, 1.0, 2.0), orientation="LPS"))
    assert placement.shape == (12, 16, 5)
    crossed = place(volume.geometry, (6, 8, 10), InputSection(spacing_mm=(2.0, 1.0, 2.0), orientation="LPS", axes="xy"))
    assert crossed.shape == (12, 5, 16)


def test_a_ramp_is_a_ramp_at_any_spacing() -> None:
    volume = stored((1, 1, 40), (1.0, 1.0, 1.0))
    for spacing in (0.5, 4.0):
        seen = place(volume.geometry, (1, 1, 40), InputSection(spacing_mm=(1.0, 1.0, spacing))).to_network(
            volume.voxels
        )
        places = (np.arange(seen.shape[2]) + 0.5) * spacing - 0.5
        np.testing.assert_allclose(seen[0, 0, 2:-2], places[2:-2], atol=1e-3)


def test_fine_stripes_turn_grey_instead_of_into_other_stripes_where_the_grid_is_coarser() -> None:
    stripes = np.tile(np.array([0.0, 1.0], np.float32), 60)
    volume = stored((1, 1, 120), (1.0, 1.0, 1.0))
    placement = place(volume.geometry, (1, 1, 120), InputSection(spacing_mm=(1.0, 1.0, 3.2)))
    assert np.abs(placement.to_network(stripes[None, None])[0, 0, 1:-1] - 0.5).max() < 0.1


def test_a_lesion_stays_in_place_through_a_grid_of_another_spacing() -> None:
    phantom = ct_phantom(3)
    volume = phantom.volume
    placement = place(volume.geometry, shape_of(volume), InputSection(spacing_mm=(3.0, 3.0, 3.0), orientation="RAI"))
    there = placement.to_network((phantom.labels == 2).astype(np.float32))
    steps = np.array(volume.geometry.spacing_mm) * volume.voxels.shape / placement.shape
    found = (np.argwhere(there > 0.5).mean(axis=0) + 0.5) * steps
    wanted = (np.argwhere(phantom.labels == 2).mean(axis=0) + 0.5) * volume.geometry.spacing_mm
    extent = np.array(volume.voxels.shape) * volume.geometry.spacing_mm
    np.testing.assert_allclose(found, np.array([1, 1, 1]) * extent - wanted, atol=0.7)


@pytest.mark.parametrize("orientation", ["LLS", "LRS", "SIP"])
def test_an_orientation_that_names_a_direction_twice_is_refused(orientation: str) -> None:
    with pytest.raises(ValueError, match="once, as LPS does"):
        InputSection(orientation=orientation)
