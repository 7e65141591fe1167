"""The noise schedule: z_t = a_t z_0 + s_t e with a_t^2 + s_t^2 = 1 and no signal left at the last step."""

from __future__ import annotations

import math

import torch
from torch import Tensor

TRAINING_STEPS = 1000


def alpha_bars(steps: int = TRAINING_STEPS) -> Tensor:
    """Give a_t^2 for t = 0..steps-1, float64, falling from just below 1 to exactly 0.

    The cosine schedule (Nichol and Dhariwal 2021, eq. 17), shifted and scaled to a zero terminal signal-to-noise ratio
    (Lin et al. 2024, algorithm 1).
    """
    time = torch.arange(steps, dtype=torch.float64) / steps
    root = torch.cos((time + 0.008) / 1.008 * math.pi / 2)
    scaled = (root - root[-1]) * (root[0] / (root[0] - root[-1]))
    return scaled.square()


def timesteps(count: int, *, steps: int = TRAINING_STEPS) -> list[int]:
    """Choose ``count`` training steps to sample at, from pure noise downwards ("trailing" spacing)."""
    return [round(steps * (count - index) / count) - 1 for index in range(count)]
