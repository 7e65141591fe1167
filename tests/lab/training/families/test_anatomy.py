"""Uptake that all heads show is anatomy, and what one head shows is a finding."""

from __future__ import annotations

import numpy as np

from lab.training.families.anatomy import darkness, marks_of, unusually_dark, usual_scores
from lab.training.families.marking import FOUND_RULE
from lab.training.families.tuning import as_stack
from lab.training.slices import Mark
from workers.segmentation.families import HEAD_MR

SPACING = (5.0, 1.8, 1.8)
HEADS = 16
NOTHING = np.zeros((128, 128), dtype=bool)


def heads() -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return heads whose nose scores in all of them, and a tumour in the first one."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:128, :128]
    images, scores = [], []
    for number in range(HEADS):
        top = rng.uniform(-3, 3)
        head = ((y - 64 - top) / 50) ** 2 + ((x - 64) / 40) ** 2 < 1
        nose = (y - 100 - top) ** 2 + (x - 64) ** 2 < 64
        tumour = (y - 45) ** 2 + (x - 80) ** 2 < 100 if number == 0 else np.zeros_like(nose)
        images.append(np.where(nose | tumour, 0.6, np.where(head, 0.0, -1.0)))
        scores.append(np.where(nose | tumour, 0.95, 0.02))
    return np.array(images, np.float32), np.array(scores, np.float32), [f"P{number}" for number in range(HEADS)]


def test_the_tumour_of_one_is_found_and_the_nose_of_all_is_free() -> None:
    images, scores, patients = heads()
    usual = usual_scores(images, scores, patients)

    marks = marks_of(scores[0], usual[0], SPACING, FOUND_RULE, odd=NOTHING)

    assert marks[45, 80] == Mark.FOUND
    assert marks[45, 93] == Mark.UNSURE
    assert marks[100, 64] == Mark.FREE
    assert not (marks_of(scores[1], usual[1], SPACING, FOUND_RULE, odd=NOTHING) == Mark.FOUND).any()


def test_what_is_dark_in_one_head_alone_is_not_free_and_what_is_dark_in_all_is() -> None:
    images, scores, patients = heads()
    y, x = np.mgrid[:128, :128]
    images[:, 58:70, 56:72] = -0.7
    images[0][(y - 45) ** 2 + (x - 45) ** 2 < 64] = -0.6
    dark = np.concatenate([darkness(as_stack(image[None], HEAD_MR)) for image in images])
    odd = unusually_dark(dark[0], usual_scores(images, dark, patients)[0])

    marks = marks_of(np.zeros_like(scores[0]), np.zeros_like(scores[0]), SPACING, FOUND_RULE, odd=odd)

    assert marks[45, 45] == Mark.UNSURE
    assert marks[64, 64] == Mark.FREE
    assert marks[45, 64] == Mark.FREE


def test_a_patient_s_own_pictures_say_nothing_of_what_is_usual() -> None:
    images, scores, _ = heads()
    pictures, theirs = np.repeat(images[:1], 9, axis=0), np.repeat(scores[:1], 9, axis=0)
    others = np.zeros_like(scores[1:])
    usual = usual_scores(
        np.concatenate([pictures, images[1:]]),
        np.concatenate([theirs, others]),
        ["P0"] * 9 + [f"P{number}" for number in range(1, HEADS)],
    )
    assert usual[0].max() == 0.0
