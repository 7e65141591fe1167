from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lab import patients
from lab.patients import Role
from lab.training import adapters, calibrate, slices, unlabelled
from lab.training.lesions import LesionKind
from lab.training.samples import Sampler
from lab.training.slices import Mark, SliceSet
from workers.errors import TrainingDataMissing


def distance(row: int, column: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    rows, columns = np.mgrid[:128, :128]
    return np.asarray(np.hypot(rows - row, columns - column))


def test_what_is_certain_is_found_what_is_near_or_doubtful_unsure_and_the_rest_free() -> None:
    score = np.zeros((16, 128, 128), np.float32)
    score[3:6, distance(60, 40) < 8] = 0.99
    score[4, distance(60, 100) < 5] = 0.2
    marks = unlabelled.marks_of(score)
    assert (marks[4, distance(60, 40) < 7] == Mark.FOUND).all()
    assert (marks[4, distance(60, 50) < 1] == Mark.UNSURE).all()
    assert (marks[6, distance(60, 40) < 2] == Mark.UNSURE).all()
    assert (marks[4, distance(60, 100) < 4] == Mark.UNSURE).all()
    assert (marks[4, distance(100, 64) < 8] == Mark.FREE).all()
    assert (marks[0, distance(60, 40) < 8] == Mark.UNSURE).all()
    assert (marks[15] == Mark.FREE).all()


def test_what_is_found_is_outlined_along_the_grey_where_the_images_are_given() -> None:
    score = np.zeros((7, 128, 128), np.float32)
    score[2:5, distance(60, 50) < 12] = 0.99
    score[2:5, (distance(60, 50) >= 12) & (distance(60, 50) < 20)] = 0.05
    images = np.where(distance(64, 64) < 56, -0.4, -1.0).astype(np.float32)[None].repeat(7, axis=0)
    images[2:5, distance(60, 52) < 11] = 0.6
    lesion = distance(60, 52) < 11
    outlined, plain = unlabelled.marks_of(score, images)[3], unlabelled.marks_of(score)[3]
    np.testing.assert_array_equal(outlined == Mark.FOUND, lesion)
    assert (plain[lesion] != Mark.FOUND).any()
    given_up = (plain == Mark.FOUND) & ~lesion
    assert given_up.any()
    assert (outlined[given_up] == Mark.UNSURE).all()


def test_where_nothing_is_certain_nothing_is_found() -> None:
    score = np.zeros((9, 128, 128), np.float32)
    score[3:6, distance(60, 40) < 8] = 0.7
    marks = unlabelled.marks_of(score)
    assert set(np.unique(marks)) == {Mark.FREE, Mark.UNSURE}


def marked_slices() -> SliceSet:
    head = np.where(distance(64, 64) < 50, 100.0, 0.0).astype(np.float32)
    loaded = slices.from_stack(np.repeat(head[None], 5, axis=0), "somebody")
    marks = loaded.marks.copy()
    near = distance(64, 45)
    marks[:, near < 20] = Mark.UNSURE
    marks[:, near < 10] = Mark.FOUND
    return replace(loaded, marks=marks)


@pytest.mark.slow
def test_a_batch_says_what_was_found_and_where_nobody_knows() -> None:
    batch = Sampler(marked_slices(), 0).draw(0, 8)
    masks, settled = batch.masks.bool(), batch.settled.bool()
    assert masks.flatten(1).any(dim=1).all()
    assert (~settled).flatten(1).any(dim=1).all()
    assert not (masks & ~settled).any()
    assert set(batch.kinds) == {LesionKind.FOUND}


def test_what_nobody_knows_teaches_nothing() -> None:
    masks, settled = torch.zeros(2, 1, 8, 8), torch.ones(2, 1, 8, 8)
    masks[:, :, :4, :4] = 1.0
    settled[:, :, 4:] = 0.0
    logits = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    other = logits.clone()
    other[:, :, 4:] = -other[:, :, 4:]
    torch.testing.assert_close(
        adapters.overlap_loss(logits, masks, settled), adapters.overlap_loss(other, masks, settled)
    )
    assert not torch.allclose(adapters.overlap_loss(logits, masks), adapters.overlap_loss(other, masks))


def test_a_mask_rule_is_chosen_on_everybody_but_the_test_patients(tmp_path: Path) -> None:
    names = [f"patient {index}" for index in range(60)]
    for name in names:
        (tmp_path / f"{name}.npz").touch()
    ruling = {path.stem for path in calibrate.ruling_files(tmp_path)}
    kept = {name for name in names if patients.role(name) is Role.TEST}
    assert kept
    assert ruling == set(names) - kept


def test_about_two_thirds_of_the_training_patients_and_nobody_else_are_seen_whole() -> None:
    names = [f"patient {index}" for index in range(600)]
    training = {name for name in names if patients.role(name) is Role.TRAIN}
    whole = {name for name in names if patients.is_seen_whole(name)}
    assert whole < training
    assert 0.6 < len(whole) / len(training) < 0.73


def test_a_folder_without_anybody_to_see_whole_is_refused(tmp_path: Path) -> None:
    name = next(name for name in map(str, range(99)) if not patients.is_seen_whole(name))
    (tmp_path / f"{name}.npz").touch()
    with pytest.raises(TrainingDataMissing, match="whole"):
        unlabelled.load(tmp_path, None, None)  # type: ignore[arg-type]  # refused before either is used
