"""Choosing a rule from few numbers, and reading it on patients who took no part in the choice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lab.training.families import calibrate, choosing
from lab.training.families.choosing import Choice, Drawing, SpreadCase, Table
from workers.segmentation.mask import case_level
from workers.segmentation.random_walk import Walk

DRAWING = Drawing(Walk(0.05, 0.02))
SPACING = (4.0, 2.0, 2.0)


def case(patient: str, *, peak: float = 0.9, tail: float = 0.0) -> SpreadCase:
    """Return a ball whose score falls off outwards, true above half of its peak; upwards a thin ``tail`` goes on."""
    z, y, x = np.indices((30, 40, 40))
    away = np.sqrt(((z - 10) / 5) ** 2 + ((y - 20) / 10) ** 2 + ((x - 20) / 10) ** 2)
    score = peak * np.clip(1.5 - away, 0, 1)
    thin = ((y - 20) ** 2 + (x - 20) ** 2 < 9) & (z >= 10)
    score = np.maximum(score, np.where(thin, tail * peak, 0))
    plain = np.zeros(score.shape, np.float32)
    return SpreadCase(patient, score.astype(np.float32), away < 1, plain, plain == 0, SPACING)


def test_the_mask_is_the_same_however_sure_a_network_is_of_a_patient() -> None:
    choice = Choice(0.45, 0.0)
    sure, unsure = (choosing.masked(case("A", peak=peak), choice, DRAWING) for peak in (0.95, 0.6))
    assert sure.any()
    assert np.array_equal(sure, unsure)


def test_the_level_and_the_end_that_are_best_on_the_cases_are_chosen() -> None:
    found = choosing.choose([case(name, peak=peak, tail=0.8) for name, peak in (("A", 0.95), ("B", 0.7))], DRAWING)
    assert found.choice.level == 0.5
    assert found.choice.end > 0
    assert found.own.alarms == 0.0
    assert found.own.dice > 0.9
    assert found.left_out == found.own


def test_a_case_without_a_tumour_raises_the_peak_below_which_nothing_is_marked() -> None:
    ill, faint = (case(name, peak=peak) for name, peak in (("A", 0.95), ("B", 0.7)))
    healthy = replace(faint, truth=np.zeros_like(faint.truth))
    found = choosing.choose([ill, healthy], replace(DRAWING, leasts=(0.0, 0.75)))
    assert found.choice.least == 0.75
    assert found.own.dice > 0.9


def test_a_picture_in_which_nothing_is_marked_scores_below_one_half() -> None:
    score = np.full((1, 40, 40), 0.97, np.float32)
    whole = np.ones(score.shape, dtype=bool)
    faint = SpreadCase("A", score, ~whole, np.zeros_like(score), whole, SPACING)
    drawing = replace(DRAWING, leasts=(0.98,))
    scale = calibrate.scale_of([faint], otherwise=0.98)
    assert not choosing.masked(faint, drawing.choices()[0], drawing).any()
    assert scale.score(case_level(score, SPACING, scale.volume_ml)) < 0.5


def test_who_is_read_takes_no_part_in_the_choice() -> None:
    count = len(DRAWING.choices())
    dice = np.full((count, 3), 0.1)
    dice[3] = (0.8, 0.8, 0.2)
    dice[7] = (0.0, 0.0, 1.0)
    table = Table(("A", "B", "C"), dice, np.zeros((count, 3)), np.full(3, 5.0))
    everyone = np.ones(3, dtype=bool)
    assert table.best(everyone) == 3
    assert table.best(np.array([False, False, True])) == 7
    # Without A or B the two choices are equal or the third's wins; C is read by the choice of the others.
    dice[7] = (0.0, 0.0, 0.3)
    assert choosing.left_out(table).dice == np.mean([0.8, 0.8, 0.2])


def test_all_alarms_count_against_a_choice() -> None:
    count = len(DRAWING.choices())
    dice, alarms = np.full((count, 2), 0.5), np.zeros((count, 2))
    dice[0], alarms[0] = 0.6, 5.0
    table = Table(("A", "B"), dice, alarms, np.full(2, 10.0))
    assert table.best(np.ones(2, dtype=bool)) == 1
    assert choosing.left_out(table).alarms == 0.0
