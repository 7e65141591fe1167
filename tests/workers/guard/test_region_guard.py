from __future__ import annotations

import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy import float32
from numpy.typing import NDArray
from PIL import Image
from pydicom import dcmread

from lab.cases import as_volume, read_case
from lab.patients import Role, named, role
from phantom.anatomy import Contrast
from phantom.head import head_phantom
from storage.routes.regions import Region
from storage.volumes import Volume
from tests.support.required import present
from tests.workers.guard.conftest import MODELS
from workers.errors import BodyPartMismatch, WeightsMismatch
from workers.guard.kinds import ALIKE, PictureKind
from workers.guard.region_guard import FOLDER, NO_OPINION, RegionGuard, RegionOpinion, check_region, open_region_guard

pytestmark = pytest.mark.slow
SURE = 0.97
T1 = Contrast(white=115, grey=84, fluid=22, fat=205)
T2 = Contrast(white=58, grey=82, fluid=195, fat=125)


def volume(voxels: NDArray[np.generic], modality: str) -> Volume:
    stack = np.asarray(voxels, dtype=float32)
    return as_volume(stack if stack.ndim == 3 else stack[None], (5.0, 1.0, 1.0), modality=modality)


def picture(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as opened:
        return np.asarray(opened.convert("L"))


@pytest.mark.parametrize(("size", "slices"), [(32, 4), (64, 6), (128, 12), (256, 3), (200, 1)])
@pytest.mark.parametrize("seed", [1, 4242])
def test_a_drawn_head_is_never_refused_by_a_head_route(guard: RegionGuard, seed: int, size: int, slices: int) -> None:
    for lesion in (True, False):
        drawn = head_phantom(seed=seed, size=size, slices=slices, lesion=lesion, oblique_degrees=20.0)
        opinion = guard.look(volume(drawn.voxels, "MR"))
        assert opinion.region in (Region.HEAD, None)
        check_region(opinion, {Region.HEAD})


@pytest.mark.parametrize("contrast", [None, T1, T2], ids=["flair", "t1", "t2"])
def test_a_drawn_head_is_told_whatever_its_contrast_and_orientation(
    guard: RegionGuard, contrast: Contrast | None
) -> None:
    voxels = head_phantom(seed=11, size=192, slices=16, contrast=contrast).voxels
    for stored in (voxels, voxels[::-1, ::-1, ::-1], np.rot90(voxels, axes=(1, 2)), voxels * 7.5 - 300):
        opinion = guard.look(volume(stored, "MR"))
        assert opinion.region is Region.HEAD
        assert opinion.kind is PictureKind.HEAD_MR
        assert opinion.probability > 0.9


def test_a_head_on_a_route_for_the_knee_is_a_mismatch(guard: RegionGuard) -> None:
    opinion = guard.look(volume(head_phantom(seed=3).voxels, "MR"))
    with pytest.raises(
        BodyPartMismatch, match=r"looks like head MR \(probability 1\.00\), but the route wants lower-limb"
    ):
        check_region(opinion, {Region.LOWER_LIMB})


def test_what_shows_no_body_gets_no_opinion(guard: RegionGuard) -> None:
    rng = np.random.default_rng(3)
    rows, columns = np.mgrid[:128, :128]
    for shown in (
        rng.random((6, 64, 64)),
        rng.normal(size=(6, 256, 256)),
        np.hypot(*rng.normal(size=(2, 4, 16, 16))),
        np.repeat((rows + columns)[None], 4, axis=0),
        np.repeat(((rows - 64) ** 2 + (columns - 64) ** 2 < 1600)[None], 4, axis=0),
        np.repeat(((rows // 8 + columns // 8) % 2)[None], 4, axis=0),
    ):
        for modality in ("MR", "CT", "DX", "US", "PT"):
            assert guard.look(volume(shown, modality)).region is None


def test_a_blank_volume_is_not_looked_at(guard: RegionGuard) -> None:
    for voxels in (np.zeros((5, 64, 64)), np.full((1, 32, 32), 7.0), np.full((3, 16, 16), np.nan)):
        assert guard.look(volume(voxels, "MR")) == NO_OPINION


def test_real_heads_of_other_patients_pass_a_head_route(guard: RegionGuard, real_data: Path) -> None:
    files = sorted(present(real_data / "brain-mri-lgg").glob("*.npz"))
    unseen = [path for path in files if role(named(path.stem)) is Role.TEST]
    opinions = [guard.look(read_case(path).volume) for path in unseen]
    for opinion in opinions:
        check_region(opinion, {Region.HEAD})
    assert sum(opinion.region is Region.HEAD for opinion in opinions) >= len(opinions) - 3


def test_a_head_of_another_scanner_and_contrast_is_not_accused(guard: RegionGuard, real_data: Path) -> None:
    folder = present(real_data / "dicom" / "mr-ge-150-slices")
    planes = [dcmread(path).pixel_array for path in sorted(folder.glob("*.dcm"))[::10]]
    check_region(guard.look(volume(np.stack(planes), "MR")), {Region.HEAD})


@pytest.mark.parametrize(
    ("name", "modality", "kind"),
    [("MR", "MR", PictureKind.LIMB_MR), ("CT", "CT", PictureKind.LIMB_CT), ("PET", "PT", PictureKind.LIMB_PET)],
)
def test_a_whole_limb_is_told(
    guard: RegionGuard, real_data: Path, *, name: str, modality: str, kind: PictureKind
) -> None:
    case = present(real_data / "sarcoma-ct-pet-mr") / f"STS_003__{name}.npz"
    opinion = guard.look(read_case(case).volume if modality == "MR" else volume(np.load(case)["image"], modality))
    assert (opinion.region, opinion.kind) == (Region.LOWER_LIMB, kind)
    check_region(opinion, {Region.LOWER_LIMB})


def test_a_limb_on_a_route_for_heads_is_a_mismatch(guard: RegionGuard, real_data: Path) -> None:
    opinion = guard.look(read_case(present(real_data / "sarcoma-ct-pet-mr") / "STS_003__MR.npz").volume)
    with pytest.raises(BodyPartMismatch, match="looks like limb MR"):
        check_region(opinion, {Region.HEAD})


def test_a_chest_radiograph_on_a_route_for_heads_is_a_mismatch(guard: RegionGuard, real_data: Path) -> None:
    folder = present(real_data / "lung-xray-children") / "images"
    refused = 0
    for path in sorted(folder.glob("*.jpg"))[-20:]:
        opinion = guard.look(volume(picture(path), "DX"))
        check_region(opinion, {Region.CHEST})
        try:
            check_region(opinion, {Region.HEAD})
        except BodyPartMismatch:
            refused += 1
    assert refused >= 16


def test_a_route_without_a_body_part_and_no_opinion_pass() -> None:
    sure = RegionOpinion(Region.CHEST, PictureKind.CHEST_CT, SURE, 0.6)
    check_region(sure, ())
    check_region(RegionOpinion(None, PictureKind.CHEST_CT, SURE, 1.4), {Region.HEAD})
    check_region(NO_OPINION, {Region.HEAD})


@pytest.mark.parametrize("region", ALIKE, ids=str)
def test_regions_that_share_pictures_are_no_mismatch(region: Region) -> None:
    kind = next(kind for kind in PictureKind if kind.region is region)
    for other in ALIKE[region]:
        check_region(RegionOpinion(region, kind, SURE, 0.1), {other, Region.HEAD})


def test_a_picture_that_is_not_quite_like_its_kind_is_not_held_against_a_region_that_was_never_learned() -> None:
    far = RegionOpinion(Region.CHEST, PictureKind.CHEST_XRAY, SURE, 0.9)
    check_region(far, {Region.LOWER_LIMB})
    with pytest.raises(BodyPartMismatch):
        check_region(RegionOpinion(Region.CHEST, PictureKind.CHEST_XRAY, SURE, 0.6), {Region.LOWER_LIMB})


def test_a_volume_is_looked_at_within_seconds(guard: RegionGuard) -> None:
    shown = volume(head_phantom(seed=1).voxels, "MR")
    started = time.process_time()
    guard.look(shown)
    assert time.process_time() - started < 4


def test_a_changed_head_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / FOLDER
    shutil.copytree(MODELS / FOLDER, folder)
    weights = folder / "head.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(bytes(content))
    with pytest.raises(WeightsMismatch, match=r"head\.safetensors of body-region does not hash"):
        open_region_guard(tmp_path, device=torch.device("cpu"))


def test_the_head_is_small() -> None:
    assert sum(path.stat().st_size for path in (MODELS / FOLDER).glob("head.*")) < 200_000
