"""How a volume's array is turned, against what the readers of nnU-Net hand to the network for the same scan."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from storage.volumes import Geometry, Volume
from tests.support.ct_phantoms import ct_phantom, turned
from workers.site_models.nnunet.array_axes import ArrayAxes, is_orientation, nearest_axes

STORED = {
    "axial": ((0, 1, 2), (False, False, False)),
    "feet first": ((0, 1, 2), (True, False, False)),
    "prone": ((0, 1, 2), (False, True, True)),
    "sagittal": ((2, 0, 1), (False, True, False)),
    "coronal": ((1, 0, 2), (False, True, False)),
}


def stored(name: str) -> Volume:
    volume = ct_phantom(3).volume
    shorter = replace(volume, voxels=volume.voxels[:, :40])  # so that no two sides are equal
    return turned(replace(shorter, voxels=shorter.voxels[:, :, :48]), *STORED[name])


def as_itk(volume: Volume) -> Any:
    itk = pytest.importorskip("SimpleITK")
    at, image = volume.geometry, itk.GetImageFromArray(volume.voxels)
    image.SetSpacing(at.spacing_mm[::-1])
    image.SetOrigin(at.origin_mm)
    image.SetDirection(np.array([at.row_direction, at.column_direction, at.slice_direction]).T.ravel().tolist())
    return image


@pytest.mark.parametrize("name", STORED)
def test_lps_is_what_simpleitk_makes_of_the_scan(name: str) -> None:
    volume, itk = stored(name), pytest.importorskip("SimpleITK")
    oriented = itk.DICOMOrient(as_itk(volume), "LPS")
    axes = nearest_axes(volume.geometry, "LPS")
    np.testing.assert_array_equal(axes.turn(volume.voxels), itk.GetArrayFromImage(oriented))
    assert axes.pick(volume.geometry.spacing_mm) == pytest.approx(oriented.GetSpacing()[::-1])


@pytest.mark.slow
@pytest.mark.parametrize("name", STORED)
def test_ras_is_what_the_canonical_reader_of_nnunet_makes_of_the_scan(name: str, tmp_path: Path) -> None:
    readers = pytest.importorskip("nnunetv2.imageio.nibabel_reader_writer")
    volume, itk = stored(name), pytest.importorskip("SimpleITK")
    itk.WriteImage(as_itk(volume), str(tmp_path / "scan.nii.gz"))
    (read,), facts = readers.NibabelIOWithReorient().read_images([str(tmp_path / "scan.nii.gz")])
    axes = nearest_axes(volume.geometry, "RAS")
    np.testing.assert_array_equal(axes.turn(volume.voxels), read)
    assert axes.pick(volume.geometry.spacing_mm) == pytest.approx(facts["spacing"])


@pytest.mark.parametrize("name", STORED)
def test_turning_back_is_the_reverse(name: str) -> None:
    volume = stored(name)
    axes = nearest_axes(volume.geometry, "RAS")
    np.testing.assert_array_equal(axes.turn_back(axes.turn(volume.voxels)), volume.voxels)


def test_a_tilted_scan_is_turned_to_the_nearest_axes() -> None:
    tilt = np.radians(30)
    rows, columns = (1.0, 0.0, 0.0), (0.0, float(np.cos(tilt)), float(-np.sin(tilt)))
    slices = (0.0, float(np.sin(tilt)), float(np.cos(tilt)))
    tilted = Geometry((0.0, 0.0, 0.0), rows, columns, slices, (4.0, 1.0, 2.0))
    assert nearest_axes(tilted, "LPS") == ArrayAxes((0, 1, 2), (False, False, False))


@pytest.mark.parametrize(("name", "right"), [("LPS", True), ("RAS", True), ("ASL", True), ("LRS", False)])
def test_an_orientation_names_three_axes(name: str, right: bool) -> None:
    assert is_orientation(name) == right
