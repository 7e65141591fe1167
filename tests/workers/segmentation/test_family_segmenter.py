"""Segmenting with a family's network: loading, scoring, and what the mask is of."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from lab.cases import as_volume
from storage.errors import ConfigurationError
from storage.explanations import Tile
from tests.support.bright_network import bright
from workers import weights
from workers.analysers import FamilyAnalyser, with_prompt
from workers.errors import UnsuitableVolume, WeightsMismatch
from workers.segmentation import likeness
from workers.segmentation.calibration import CaseScale
from workers.segmentation.families import HEAD_MR, LIMB_MR, PET
from workers.segmentation.family_calibration import FamilyCalibration
from workers.segmentation.family_segmenter import FamilySegmenter, installed_family
from workers.segmentation.framing import frame
from workers.segmentation.likeness import TrainingLikeness
from workers.segmentation.mask import MaskRule
from workers.segmentation.prompts import PromptEncoder, TextEncoder
from workers.segmentation.unet import UNet

CASE = CaseScale(1.0, 0.5)
RULE = MaskRule(threshold=0.5, peak=0.5, minimum_ml=0.1, smoothing_mm=0.0, share=0.5)


def body() -> NDArray[np.float32]:
    z, y, x = np.indices((9, 48, 40))
    voxels = np.where(((y - 24) / 20) ** 2 + ((x - 20) / 17) ** 2 < 1, 0.5, 0.0)
    return np.where((y - 20) ** 2 + (x - 25) ** 2 + (z - 4) ** 2 < 16, 25.0, voxels).astype(np.float32)


def known(network: UNet, voxels: NDArray[np.float32]) -> TrainingLikeness:
    """Return what knows bodies like this one, a little brighter or darker."""
    stacks = [
        frame(as_volume(voxels * np.float32(factor), (4.0, 4.0, 4.0), modality="PT"), PET)
        for factor in (0.8, 0.9, 1.0, 1.1)
    ]
    fitted = likeness.fit([likeness.describe(network, stack, PET) for stack in stacks])
    return replace(fitted, limits=np.full(2, 2.0, np.float32))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "families" / "pet"
    place.mkdir(parents=True)
    save_file({name: value.contiguous() for name, value in bright(PET).state_dict().items()}, place / "one.safetensors")
    FamilyCalibration(PET, RULE, CASE).write(place)
    known(bright(PET), body()).write(place)
    weights.write_manifest(place, name="pet", version="1", licence="test")
    return place


def test_what_the_network_scores_is_marked_on_the_volume_s_own_grid(folder: Path) -> None:
    segmenter = FamilySegmenter.load(folder, device=torch.device("cpu"), dtype=torch.float32)
    voxels = body()

    found = segmenter.segment(as_volume(voxels, (4.0, 4.0, 4.0), modality="PT"))

    assert found.mask.shape == voxels.shape
    overlap = 2 * (found.mask & (voxels > 5)).sum() / (found.mask.sum() + (voxels > 5).sum())
    assert overlap > 0.8
    assert found.score_map.max() <= 1
    assert found.case_score > 0.5
    assert '"family": "pet"' in found.algorithm.parameters
    assert found.out_of_distribution == 0.0


def test_what_looks_like_nothing_in_training_is_called_unlike_it(folder: Path) -> None:
    segmenter = FamilySegmenter.load(folder, device=torch.device("cpu"), dtype=torch.float32)
    noise = np.random.default_rng(1).uniform(0.0, 9.0, (9, 48, 40)).astype(np.float32)
    found = segmenter.segment(as_volume(noise, (4.0, 4.0, 4.0), modality="PT"))
    assert found.out_of_distribution is not None
    assert found.out_of_distribution > 1.0


def test_the_explanation_shows_the_score_that_decided_and_nothing_that_did_not(folder: Path) -> None:
    segmenter = FamilySegmenter.load(folder, device=torch.device("cpu"), dtype=torch.float32)
    checks: list[int] = []
    volume = as_volume(body(), (4.0, 4.0, 4.0), modality="PT")
    found = FamilyAnalyser(segmenter).segment(volume, check=lambda: checks.append(1))
    assert checks
    assert found.explanation is not None
    (view,) = found.explanation.views
    assert [shown.tile for shown in view.tiles] == [Tile.IMAGE, Tile.SCORE, Tile.MASK]
    assert view.slice_index in (3, 4, 5)
    assert view.attention[view.mask].min() > view.attention[~view.mask].mean()
    assert found.explanation.attention.shape == found.mask.shape
    empty = as_volume(np.minimum(body(), 0.5), (4.0, 4.0, 4.0), modality="PT")
    assert FamilyAnalyser(segmenter).segment(empty, check=lambda: None).explanation is None


def test_a_body_without_anything_gives_an_empty_mask(folder: Path) -> None:
    voxels = np.minimum(body(), 0.5)
    segmenter = FamilySegmenter.load(folder, device=torch.device("cpu"), dtype=torch.float32)
    assert not segmenter.segment(as_volume(voxels, (4.0, 4.0, 4.0), modality="PT")).mask.any()


def test_a_family_refuses_what_is_not_its_own(folder: Path) -> None:
    segmenter = FamilySegmenter.load(folder, device=torch.device("cpu"), dtype=torch.float32)
    with pytest.raises(UnsuitableVolume, match="the volume is MR: pet takes PT"):
        segmenter.segment(as_volume(body(), (4.0, 4.0, 4.0), modality="MR"))


def test_weights_of_another_family_are_refused(folder: Path) -> None:
    with pytest.raises(WeightsMismatch, match="holds weights of pet, not of limb-mr"):
        FamilySegmenter.load(folder, named=LIMB_MR.name)


def test_a_changed_file_is_refused(folder: Path) -> None:
    (folder / "calibration.json").write_text("{}", encoding="utf-8")
    with pytest.raises(WeightsMismatch):
        FamilySegmenter.load(folder)


def test_an_installed_family_is_found_by_name(folder: Path) -> None:
    assert installed_family(folder.parent.parent, "pet") == folder
    with pytest.raises(ConfigurationError, match="no weights of the family limb-mr"):
        installed_family(folder.parent.parent, "limb-mr")


@pytest.fixture(scope="module")
def prompted(tmp_path_factory: pytest.TempPathFactory) -> FamilySegmenter:
    """Return a segmenter that marks what is bright, unless it is asked for what differs from gliomas."""
    place = tmp_path_factory.mktemp("families") / "head-mr"
    place.mkdir()
    network = bright(HEAD_MR)
    prompts = PromptEncoder(TextEncoder.load(), torch.device("cpu"))
    glioma, other = (prompts.pair(words).difference for words in ("glioma", "pituitary tumor"))
    assert network.query is not None
    with torch.no_grad():
        network.query.weight.zero_()
        network.query.bias.fill_(-60.0)
        network.query.weight[0] = 120.0 * (glioma - other) / (glioma - other).square().sum()
        network.query.bias[0] -= network.query.weight[0] @ (glioma + other) / 2
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, place / "one.safetensors")
    FamilyCalibration(HEAD_MR, RULE, CASE).write(place)
    known(bright(PET), body()).write(place)
    weights.write_manifest(place, name="head-mr", version="1", licence="test")
    return FamilySegmenter.load(place, device=torch.device("cpu"), dtype=torch.float32)


def test_a_prompted_family_marks_what_the_prompt_names(prompted: FamilySegmenter) -> None:
    volume = as_volume(np.repeat(np.repeat(np.minimum(body(), 2.0), 3, axis=1), 3, axis=2), (4.0, 2.0, 2.0))
    analyser = FamilyAnalyser(prompted)

    right = with_prompt(analyser, "glioma").segment(volume, check=lambda: None)
    wrong = with_prompt(analyser, "pituitary tumor").segment(volume, check=lambda: None)

    assert right.mask.any()
    assert not wrong.mask.any()
    assert '"prompt": "glioma"' in right.algorithm.parameters


def test_a_prompt_without_words_is_refused(prompted: FamilySegmenter) -> None:
    with pytest.raises(ConfigurationError, match="name a finding"):
        prompted.segment(as_volume(body(), (4.0, 4.0, 4.0)), prompt=" ")
