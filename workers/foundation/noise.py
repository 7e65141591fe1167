"""Noise schedules and what a denoiser predicts, brought to one form: z_t = a_t z_0 + s_t e.

Step i of T is an index, 0 the least noise and T - 1 the most; ``times[i]`` is what the network itself is told.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor

from workers.errors import ModelUnsuitable

TRAINING_STEPS = 1000


class PredictionKind(StrEnum):
    """What the network was trained to output; the first three are named as ``diffusers`` and MONAI name them."""

    EPSILON = "epsilon"
    SAMPLE = "sample"
    VELOCITY = "v_prediction"
    FLOW = "flow"
    """e - z_0, the sign of ``diffusers``."""
    FLOW_TO_IMAGE = "flow_to_image"
    """z_0 - e, the sign of MONAI's rectified flow."""


@dataclass(frozen=True, slots=True, eq=False)
class Denoised:
    """A denoiser's estimate of the clean latent and of the noise, both float32 and shaped like z_t."""

    x0: Tensor
    eps: Tensor


@dataclass(frozen=True, slots=True)
class TimeShift:
    """How a rectified flow spends more of its steps on noise (Esser et al. 2024, section 5.3.2).

    With ``reference_places`` the shift grows with the side of the latent grid, being ``scale`` on a grid of that size.
    """

    scale: float
    reference_places: int | None = None

    def shifted(self, share: float, grid: tuple[int, ...]) -> float:
        """Return the share 0..1 of noise at which the step stands that would stand at ``share`` without the shift."""
        ratio = self.scale
        if self.reference_places is not None:
            ratio *= (math.prod(grid) / self.reference_places) ** (1.0 / len(grid))
        return ratio * share / (1.0 + (ratio - 1.0) * share)


@dataclass(frozen=True, slots=True, eq=False)
class NoiseSchedule:
    """Signal a_t and noise s_t of every training step, float64 ``[T]``, with the times that the network is told.

    ``clip`` is the greatest size of a value of z_0, for models that are sampled so.
    """

    alphas: Tensor
    sigmas: Tensor
    times: Tensor
    kind: PredictionKind
    shift: TimeShift | None = None
    clip: float | None = None

    def __len__(self) -> int:
        return len(self.alphas)

    def alpha_sigma(self, step: int) -> tuple[float, float]:
        """Return a_t and s_t of one step."""
        return float(self.alphas[step]), float(self.sigmas[step])

    def alpha_bars(self) -> Tensor:
        """Return a^2 / (a^2 + s^2): the same noise levels in variance-preserving form, as the samplers take them."""
        return self.alphas.square() / (self.alphas.square() + self.sigmas.square())

    def steps(self, count: int, grid: tuple[int, ...], *, start: float = 1.0) -> list[int]:
        """Return at most ``count`` falling steps from the share ``start`` of the schedule downwards.

        ``grid`` is the spatial size of the latents. Steps that would coincide are taken once.
        """
        total = len(self)
        shares = [(step + 1) / total for step in timesteps(count, steps=max(round(start * total), count))]
        if self.shift is not None:
            shares = [self.shift.shifted(share, grid) for share in shares]
        return list(dict.fromkeys(max(round(share * total), 1) - 1 for share in shares))

    def noised(self, z_0: Tensor, eps: Tensor, step: int) -> Tensor:
        """Return z_t = a_t z_0 + s_t e."""
        alpha, sigma = self.alpha_sigma(step)
        return alpha * z_0 + sigma * eps

    def denoised(self, output: Tensor, z_t: Tensor, step: int) -> Denoised:
        """Return the estimates of z_0 and e that follow from what the network put out at ``step``."""
        alpha, sigma = self.alpha_sigma(step)
        estimate = self._estimate(output, z_t, alpha, sigma)
        if self.clip is None:
            return estimate
        x0 = estimate.x0.clamp(-self.clip, self.clip)
        return Denoised(x0, (z_t - alpha * x0) / sigma)

    def _estimate(self, output: Tensor, z_t: Tensor, alpha: float, sigma: float) -> Denoised:
        match self.kind:
            case PredictionKind.EPSILON:
                return Denoised((z_t - sigma * output) / alpha, output)
            case PredictionKind.SAMPLE:
                return Denoised(output, (z_t - alpha * output) / sigma)
            case PredictionKind.VELOCITY:
                return Denoised(alpha * z_t - sigma * output, sigma * z_t + alpha * output)
            case PredictionKind.FLOW:
                return Denoised(z_t - sigma * output, z_t + alpha * output)
            case PredictionKind.FLOW_TO_IMAGE:
                return Denoised(z_t + sigma * output, z_t - alpha * output)


def diffusion(alpha_bars: Tensor, kind: PredictionKind) -> NoiseSchedule:
    """Return the schedule of a denoising diffusion model from a_t squared ``[T]``; its times are its steps."""
    squared = alpha_bars.double()
    if kind is PredictionKind.EPSILON and float(squared[-1]) <= 0.0:
        raise ModelUnsuitable(
            "the schedule ends without signal, where predicted noise says nothing about the image: "
            "such a model must predict v or the image; correct prediction_type"
        )
    times = torch.arange(len(squared), dtype=torch.float64)
    return NoiseSchedule(squared.sqrt(), (1.0 - squared).sqrt(), times, kind)


def rectified_flow(
    kind: PredictionKind, *, steps: int = TRAINING_STEPS, shift: TimeShift | None = None
) -> NoiseSchedule:
    """Return the schedule of a rectified flow: a_t = 1 - t / T, s_t = t / T, t = 1..T (Liu et al. 2023)."""
    times = torch.arange(1, steps + 1, dtype=torch.float64)
    return NoiseSchedule(1.0 - times / steps, times / steps, times, kind, shift)


def cosine_alpha_bars(steps: int = TRAINING_STEPS) -> Tensor:
    """Return a_t^2 for t = 0..steps-1, float64, falling from just below 1 to exactly 0.

    The cosine schedule (Nichol and Dhariwal 2021, eq. 17), shifted and scaled to a zero terminal signal-to-noise ratio
    (Lin et al. 2024, algorithm 1).
    """
    time = torch.arange(steps, dtype=torch.float64) / steps
    root = torch.cos((time + 0.008) / 1.008 * math.pi / 2)
    scaled = (root - root[-1]) * (root[0] / (root[0] - root[-1]))
    return scaled.square()


def timesteps(count: int, *, steps: int = TRAINING_STEPS) -> list[int]:
    """Return ``count`` training steps to sample at, from pure noise downwards ("trailing" spacing)."""
    return [round(steps * (count - index) / count) - 1 for index in range(count)]
