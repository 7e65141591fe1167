from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.support import tiny_foundations as tiny
from tests.support.abdomens import abdomen, best_level, dice
from tests.support.trained_once import Training
from workers.zero_shot.analyser import FoundationAnalyser, open_foundation_analyser

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

HELD_OUT_SEEDS = range(2000, 2006)
MARGIN = 0.1
FAMILIES = [
    pytest.param(tiny.trained_diffusers, id="diffusers"),
    pytest.param(tiny.trained_bundle, id="bundle"),
    pytest.param(tiny.trained_maisi, id="maisi"),
]


def idle() -> None:
    pass


def opened(train: Training, factory: pytest.TempPathFactory) -> FoundationAnalyser:
    torch.set_num_threads(1)
    folder = tiny.trained_foundation(factory, train)
    return open_foundation_analyser(folder, device=torch.device("cpu"), dtype=torch.float32, prompt="tumor")


@pytest.mark.parametrize("train", FAMILIES)
def test_a_trained_model_of_each_family_beats_the_best_fixed_threshold_on_held_out_abdomens(
    train: Training, tmp_path_factory: pytest.TempPathFactory
) -> None:
    analyser = opened(train, tmp_path_factory)
    drawn = [abdomen(seed) for seed in HELD_OUT_SEEDS]
    masks = [case.mask for case in drawn]
    found = [analyser.segment(case.volume, check=idle).mask for case in drawn]
    reached = float(np.mean([dice(mask, true) for mask, true in zip(found, masks, strict=True)]))
    for greys in ([case.grey for case in drawn], [case.smoothed for case in drawn]):
        assert reached > best_level(greys, masks) + MARGIN
