"""Which network an evaluation takes for a folder of files that say little of themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.segmentation.case_families import family_of_folder, folder_of_family
from storage.routes.file import load_routes


@pytest.mark.parametrize(
    ("folder", "modality", "family"),
    [
        ("brain-mri-t1c", "MR", "head-mr"),
        ("gbm-t1c", "MR", "head-mr"),
        ("brain-mri-lgg", "MR", None),
        ("cases", "MR", None),
        ("breast-ultrasound", "US", "breast-us"),
        ("stills", "US", "breast-us"),
        ("sarcoma-ct-pet-mr", "PT", "pet"),
        ("sarcoma-ct-pet-mr", "CT", "body-ct"),
        ("thighs-t1", "MR", "limb-mr"),
    ],
)
def test_a_folder_s_name_speaks_for_its_images(folder: str, modality: str, family: str | None) -> None:
    assert family_of_folder(folder, modality, load_routes()) == family


def test_weights_that_are_not_installed_are_not_taken(tmp_path: Path) -> None:
    installed = tmp_path / "families" / "head-mr"
    assert folder_of_family(tmp_path, Path("brain-t1c"), "MR") is None
    installed.mkdir(parents=True)
    assert folder_of_family(tmp_path, Path("brain-t1c"), "MR") == installed
