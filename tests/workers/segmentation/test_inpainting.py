from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import cast

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from workers.foundation.contract import UNCONDITIONED, Condition, FoundationModel
from workers.foundation.diffusers_folder import schedule_of
from workers.foundation.noise import (
    Denoised,
    NoiseSchedule,
    PredictionKind,
    cosine_alpha_bars,
    diffusion,
    rectified_flow,
)
from workers.segmentation import sampling
from workers.segmentation.inpainting import Redrawing, latent_region, redraw, redraw_latents

STABLE = schedule_of({"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012})
OURS = diffusion(cosine_alpha_bars(), PredictionKind.VELOCITY)
FLOW = rectified_flow(PredictionKind.FLOW_TO_IMAGE)


@dataclass(frozen=True, eq=False)
class Exact:
    """Knows that every clean latent is a Gaussian around ``mean``; its autoencoder halves and doubles."""

    schedule: NoiseSchedule
    mean: float = 2.0
    spread: float = 0.0
    factor: int = 2
    seen: list[tuple[int, Tensor]] = field(default_factory=list)

    def encode(self, images: Tensor) -> Tensor:
        return functional.interpolate(images, scale_factor=0.5)

    def decode(self, latents: Tensor) -> Tensor:
        return functional.interpolate(latents, scale_factor=2.0) + 0.25

    def denoise(self, z_t: Tensor, step: int, condition: Condition = UNCONDITIONED) -> Denoised:
        self.seen.append((step, z_t))
        alpha, sigma = self.schedule.alpha_sigma(step)
        mean = self.mean if condition.class_label is None else float(condition.class_label)
        gain = alpha * self.spread**2 / (alpha**2 * self.spread**2 + sigma**2)
        x0 = mean + gain * (z_t - alpha * mean)
        return Denoised(x0, (z_t - alpha * x0) / sigma)


def model(exact: Exact) -> FoundationModel:
    return cast("FoundationModel", exact)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def block(*shape: int) -> Tensor:
    region = torch.zeros(shape, dtype=torch.bool)
    region[..., 2:6, 2:6] = True
    return region


@pytest.mark.parametrize("schedule", [STABLE, OURS, FLOW], ids=["epsilon", "v, no signal left", "flow"])
@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (1, 3, 4, 8, 8)], ids=["2D", "3D"])
@pytest.mark.parametrize("steps", [1, 4])
def test_an_exact_denoiser_redraws_its_image_inside_and_nothing_outside(
    schedule: NoiseSchedule, shape: tuple[int, ...], steps: int
) -> None:
    z, region = drawn(*shape), block(shape[0], 1, *shape[2:])
    redrawn = redraw_latents(model(Exact(schedule)), z, region, Redrawing(steps=steps))
    outside = ~region.expand_as(z)
    assert torch.equal(redrawn[outside], z[outside])
    torch.testing.assert_close(redrawn[~outside], torch.full_like(redrawn[~outside], 2.0))


@pytest.mark.parametrize("schedule", [STABLE, OURS, FLOW], ids=["epsilon", "v, no signal left", "flow"])
def test_from_pure_noise_the_spread_of_a_gaussian_comes_out_right(schedule: NoiseSchedule) -> None:
    z = torch.zeros(1, 1, 128, 128)
    everywhere = torch.ones(1, 1, 128, 128, dtype=torch.bool)
    drawn_anew = redraw_latents(model(Exact(schedule, mean=3.0, spread=0.5)), z, everywhere, Redrawing(steps=100))
    signal_left = schedule.alpha_sigma(999)[0]  # a schedule that keeps some signal lets the blank start show through
    assert abs(float(drawn_anew.mean()) - 3.0) < 0.05 + 3.0 * signal_left
    assert abs(float(drawn_anew.std()) - 0.5) < 0.03


def test_a_flow_takes_the_steps_of_its_euler_integration() -> None:
    exact = Exact(FLOW, mean=1.0, spread=0.7)
    z = torch.zeros(1, 2, 6, 6)
    everywhere = torch.ones(1, 1, 6, 6, dtype=torch.bool)
    ours = redraw_latents(model(exact), z, everywhere, Redrawing(steps=5))
    x = drawn(2, 6, 6, seed=Redrawing().noise_seed)[None]
    times = [1000, 800, 600, 400, 200, 0]
    for time, following in pairwise(times):
        estimate = exact.denoise(x, time - 1)
        x = x + (estimate.x0 - estimate.eps) * (time - following) / 1000
    torch.testing.assert_close(ours, x, rtol=1e-4, atol=1e-5)


def test_the_denoiser_sees_the_context_at_its_own_noise_level() -> None:
    exact, z, region = Exact(FLOW), drawn(1, 3, 8, 8), block(1, 1, 8, 8)
    redraw_latents(model(exact), z, region, Redrawing(steps=3))
    noise = drawn(3, 8, 8, seed=Redrawing().noise_seed)[None]
    outside = ~region.expand_as(z)
    assert [step for step, _ in exact.seen] == [999, 666, 332]
    for step, z_t in exact.seen:
        torch.testing.assert_close(z_t[outside], FLOW.noised(z, noise, step)[outside])


def test_what_was_in_the_region_has_no_say_even_when_it_starts_below_pure_noise() -> None:
    z, region = drawn(1, 3, 8, 8), block(1, 1, 8, 8)
    lesion = torch.where(region, z + 100.0, z)
    plan = Redrawing(steps=3, start=0.5)
    first, second = (redraw_latents(model(Exact(STABLE, spread=1.0)), latents, region, plan) for latents in (z, lesion))
    assert torch.equal(first, second)


def test_the_same_seed_redraws_the_same_and_every_slice_from_one_noise() -> None:
    exact, z, region = Exact(STABLE, spread=1.0), drawn(1, 3, 8, 8).expand(2, -1, -1, -1), block(2, 1, 8, 8)
    first, again = (redraw_latents(model(exact), z, region, Redrawing(steps=3)) for _ in range(2))
    other = redraw_latents(model(exact), z, region, Redrawing(steps=3, noise_seed=1))
    assert torch.equal(first, again)
    assert torch.equal(first[0], first[1])
    assert not torch.equal(first, other)


def test_guidance_leads_away_from_the_abnormal_condition() -> None:
    plan = Redrawing(steps=2, normal=Condition(class_label=1), abnormal=Condition(class_label=5), guidance=2.0)
    z, region = drawn(1, 1, 8, 8), block(1, 1, 8, 8)
    guided = redraw_latents(model(Exact(STABLE)), z, region, plan)
    torch.testing.assert_close(guided[region], torch.full_like(guided[region], -3.0))
    exact = Exact(STABLE)
    redraw_latents(model(exact), z, region, replace(plan, guidance=1.0))
    assert len(exact.seen) == 2


@pytest.mark.parametrize("shape", [(2, 1, 8, 8), (1, 1, 8, 8, 8)], ids=["2D", "3D"])
def test_images_are_equal_bit_for_bit_outside_the_region(shape: tuple[int, ...]) -> None:
    images, region = drawn(*shape), block(*shape)
    pair = redraw(model(Exact(STABLE)), images, region, Redrawing(steps=2))
    assert torch.equal(pair.healthy[~region], pair.decoded[~region])
    torch.testing.assert_close(pair.healthy[region], torch.full_like(pair.healthy[region], 2.25))


def test_where_nothing_is_suspicious_the_denoiser_is_not_asked_and_nothing_is_left_over() -> None:
    exact = Exact(STABLE)
    pair = redraw(model(exact), drawn(1, 1, 8, 8), torch.zeros(1, 1, 8, 8, dtype=torch.bool), Redrawing())
    assert not exact.seen
    assert torch.equal(pair.healthy, pair.decoded)


def test_a_latent_cell_is_redrawn_when_any_of_its_pixels_is_in_the_region() -> None:
    region = torch.zeros(1, 1, 4, 4, dtype=torch.bool)
    region[0, 0, 1, 2] = True
    assert latent_region(region, 2)[0, 0].tolist() == [[False, True], [False, False]]
    assert latent_region(torch.ones(1, 1, 4, 4, 4, dtype=torch.bool), 4).shape == (1, 1, 1, 1, 1)


def test_ddim_of_the_project_is_the_same_as_redrawing_everywhere() -> None:
    exact = Exact(OURS, spread=0.8)
    z = torch.zeros(1, 2, 8, 8)
    everywhere = torch.ones(1, 1, 8, 8, dtype=torch.bool)
    ours = redraw_latents(model(exact), z, everywhere, Redrawing(steps=4))
    noise = drawn(2, 8, 8, seed=Redrawing().noise_seed)[None]
    whole = torch.ones_like(noise, dtype=torch.bool)
    plain = sampling.inpaint(
        lambda z_t, step: exact.denoise(z_t, step).x0, z, whole, noise, count=4, alpha_bars=cosine_alpha_bars()
    )
    torch.testing.assert_close(ours, plain)
