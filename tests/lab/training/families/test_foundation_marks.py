"""Marks of the shipped heads on what a family frames."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lab.cases import as_volume
from lab.training.families import marking
from lab.training.families.foundation_marks import FoundationScores
from lab.training.slices import Mark
from phantom.head import head_phantom
from workers.config import SEGMENTATION_FOLDER, WorkerSettings
from workers.segmentation.families import HEAD_MR
from workers.segmentation.framing import frame


@pytest.mark.slow
def test_a_phantom_s_lesion_is_found_and_most_of_its_head_is_free() -> None:
    phantom = head_phantom(seed=3)
    folder = WorkerSettings().models_folder() / SEGMENTATION_FOLDER
    scorer = FoundationScores.load(folder, device=torch.device("cpu"), dtype=torch.float32)

    stack = frame(as_volume(phantom.voxels, phantom.geometry.spacing_mm), HEAD_MR)
    marks = marking.marks_of(stack, scorer.scores(stack))

    assert (marks == Mark.FOUND).any()
    assert np.mean(marks[stack.body] == Mark.FREE) > 0.7
