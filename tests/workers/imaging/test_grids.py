from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy import float64
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from workers.errors import DuplicatePosition, IncompleteVolume, InvalidGeometry, MixedGeometry, UnsuitableVolume
from workers.imaging.grids import regular_grid
from workers.imaging.planes import Plane

_AXIAL = np.eye(3)


def _planes(
    count: int, *, frame: NDArray[float64] = _AXIAL, slice_mm: float = 4.0, origin: tuple[float, ...] = (0.0, 0.0, 0.0)
) -> list[Plane]:
    row, column, normal = (tuple(float(v) for v in axis) for axis in frame)
    positions = [np.array(origin) + z * slice_mm * np.array(normal) for z in range(count)]
    return [
        Plane(
            frame_number=None,
            position_mm=(float(p[0]), float(p[1]), float(p[2])),
            row_direction=(row[0], row[1], row[2]),
            column_direction=(column[0], column[1], column[2]),
            pixel_spacing_mm=(0.8, 0.9),
        )
        for p in positions
    ]


def _moved(plane: Plane, shift: tuple[float, float, float]) -> Plane:
    x, y, z = plane.position_mm
    return replace(plane, position_mm=(x + shift[0], y + shift[1], z + shift[2]))


rotations = st.tuples(*[st.floats(-math.pi, math.pi)] * 3).map(lambda angles: Rotation.from_euler("xyz", angles))


@given(
    rotation=rotations,
    count=st.integers(2, 30),
    slice_mm=st.floats(0.5, 8.0),
    origin=st.tuples(*[st.floats(-300, 300)] * 3),
    shuffle=st.randoms(use_true_random=False),
)
def test_any_orientation_in_any_order_gives_one_right_handed_grid(
    rotation: Rotation, count: int, slice_mm: float, origin: tuple[float, float, float], shuffle: object
) -> None:
    planes = _planes(count, frame=rotation.as_matrix().T, slice_mm=slice_mm, origin=origin)
    order = list(range(count))
    shuffle.shuffle(order)  # type: ignore[attr-defined]  # hypothesis hands out random.Random as object
    grid = regular_grid([planes[index] for index in order])
    geometry = grid.geometry
    assert [order[index] for index in grid.order] == list(range(count))
    assert geometry.origin_mm == pytest.approx(planes[0].position_mm)
    assert geometry.spacing_mm == pytest.approx((slice_mm, 0.8, 0.9), abs=1e-5)
    frame = np.array([geometry.row_direction, geometry.column_direction, geometry.slice_direction])
    assert np.allclose(frame @ frame.T, np.eye(3), atol=1e-9)
    assert np.linalg.det(frame) == pytest.approx(1.0)
    for z, index in enumerate(grid.order):
        expected = np.array(geometry.origin_mm) + z * geometry.spacing_mm[0] * frame[2]
        assert np.allclose(expected, planes[order[index]].position_mm, atol=1e-4)


def test_directions_rounded_as_in_real_headers_are_made_exact() -> None:
    frame = np.round(Rotation.from_euler("xyz", [0.2, -0.3, 0.1]).as_matrix().T, 4)
    geometry = regular_grid(_planes(5, frame=frame)).geometry
    assert np.linalg.norm(geometry.row_direction) == pytest.approx(1.0, abs=1e-12)
    assert np.dot(geometry.row_direction, geometry.column_direction) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("missing", [1, 2, 5, 8])
def test_a_missing_slice_is_named(missing: int) -> None:
    planes = _planes(10)
    del planes[missing]
    with pytest.raises(IncompleteVolume, match=rf"slices {missing} and {missing + 1} of 9 are 8.00 mm apart"):
        regular_grid(planes)


def test_positions_rounded_to_a_hundredth_of_a_millimetre_are_no_gap() -> None:
    planes = _planes(40, slice_mm=1.0 / 3.0)
    rounded = [replace(p, position_mm=(0.0, 0.0, round(p.position_mm[2], 2))) for p in planes]
    assert regular_grid(rounded).geometry.spacing_mm[0] == pytest.approx(1.0 / 3.0, abs=1e-3)


def test_two_slices_at_one_position_are_refused() -> None:
    with pytest.raises(DuplicatePosition, match="1 of 7 slices"):
        regular_grid([*_planes(6), _planes(6)[3]])


def test_mixed_orientations_are_refused() -> None:
    sagittal = Rotation.from_euler("y", 90, degrees=True).as_matrix().T
    with pytest.raises(MixedGeometry, match="orientations"):
        regular_grid([*_planes(3), *_planes(3, frame=sagittal)])


def test_mixed_pixel_spacing_is_refused() -> None:
    planes = _planes(4)
    with pytest.raises(MixedGeometry, match="pixel spacing"):
        regular_grid([*planes[:3], replace(planes[3], pixel_spacing_mm=(0.4, 0.9))])


def test_a_gantry_tilt_is_refused() -> None:
    tilted = [_moved(plane, (0.0, 0.7 * z, 0.0)) for z, plane in enumerate(_planes(8))]
    with pytest.raises(InvalidGeometry, match="gantry tilt"):
        regular_grid(tilted)


def test_slices_that_lie_to_and_fro_are_not_called_a_gantry_tilt() -> None:
    scattered = [_moved(plane, (0.0, 2.0 * (z % 2), 0.0)) for z, plane in enumerate(_planes(8))]
    with pytest.raises(InvalidGeometry, match="to and fro") as refusal:
        regular_grid(scattered)
    assert "tilt" not in str(refusal.value)


@given(rotation=rotations, decimals=st.integers(2, 6), count=st.integers(2, 40))
def test_rounded_cosines_are_no_gantry_tilt(rotation: Rotation, decimals: int, count: int) -> None:
    frame = rotation.as_matrix().T
    rounded = np.round(frame, decimals)
    planes = [
        replace(plane, row_direction=tuple(rounded[0].tolist()), column_direction=tuple(rounded[1].tolist()))
        for plane in _planes(count, frame=frame, slice_mm=5.0)
    ]
    geometry = regular_grid(planes).geometry
    found = np.array([geometry.row_direction, geometry.column_direction, geometry.slice_direction])
    assert np.allclose(found @ found.T, np.eye(3), atol=1e-9)
    assert np.abs(found[2] - frame[2]).max() < 1e-4
    last = np.array(geometry.origin_mm) + (count - 1) * geometry.spacing_mm[0] * found[2]
    assert np.allclose(last, planes[-1].position_mm, atol=0.05)


@pytest.mark.parametrize("decimals", [2, 3, 6])
@pytest.mark.parametrize("degrees", [1.5, 5.0, 20.0])
def test_a_real_gantry_tilt_is_refused_whatever_the_cosines_are_rounded_to(degrees: float, decimals: int) -> None:
    frame = np.round(Rotation.from_euler("x", degrees, degrees=True).as_matrix().T, decimals)
    planes = [
        replace(plane, position_mm=(0.0, 0.0, 5.0 * z))
        for z, plane in enumerate(_planes(30, frame=frame, slice_mm=5.0))
    ]
    with pytest.raises(InvalidGeometry, match="gantry tilt"):
        regular_grid(planes)


@pytest.mark.parametrize("column", [(0.0, 0.5, 0.0), (1.0, 0.0, 0.0), (0.1, 0.995, 0.0), (0.0, 0.0, 0.0)], ids=str)
def test_directions_that_are_no_perpendicular_unit_vectors_are_refused(column: tuple[float, float, float]) -> None:
    with pytest.raises(InvalidGeometry, match="perpendicular"):
        regular_grid([replace(plane, column_direction=column) for plane in _planes(4)])


@pytest.mark.parametrize("count", [0, 1])
def test_one_slice_is_no_volume(count: int) -> None:
    with pytest.raises(UnsuitableVolume):
        regular_grid(_planes(count))
