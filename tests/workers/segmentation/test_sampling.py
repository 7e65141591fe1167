from __future__ import annotations

import torch
from torch import Tensor

from workers.foundation.noise import cosine_alpha_bars
from workers.segmentation import sampling

ALPHA_BARS = cosine_alpha_bars()


def everything_is_one(z_t: Tensor, _step: int) -> Tensor:
    return torch.ones_like(z_t)


def noise(seed: int, shape: tuple[int, ...] = (2, 4, 8, 8)) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def drawn_from(denoise: sampling.Denoise, start: Tensor, *, count: int) -> Tensor:
    """Draw z_0 from pure noise: redraw everything."""
    everywhere = torch.ones_like(start, dtype=torch.bool)
    return sampling.inpaint(denoise, torch.zeros_like(start), everywhere, start, count=count, alpha_bars=ALPHA_BARS)


def test_an_exact_denoiser_of_one_image_draws_that_image_in_any_number_of_steps() -> None:
    for count in (1, 3, 10):
        drawn = drawn_from(everything_is_one, noise(0), count=count)
        torch.testing.assert_close(drawn, torch.ones_like(drawn))


def test_an_exact_denoiser_of_a_gaussian_keeps_its_mean_and_spread() -> None:
    mean, spread = 3.0, 0.5

    def posterior_mean(z_t: Tensor, step: int) -> Tensor:
        signal, variance = ALPHA_BARS[step].sqrt(), 1.0 - ALPHA_BARS[step]
        return mean + signal * spread**2 / (signal**2 * spread**2 + variance) * (z_t - signal * mean)

    drawn = drawn_from(posterior_mean, noise(1, (1, 1, 200, 200)), count=100)
    assert abs(float(drawn.mean()) - mean) < 0.02
    assert abs(float(drawn.std()) - spread) < 0.02


def test_a_ddim_step_with_the_true_image_lands_on_the_same_noise_at_the_next_level() -> None:
    z_0, e = noise(2), noise(3)
    z_t = sampling.noise_to(z_0, e, ALPHA_BARS[600])
    torch.testing.assert_close(
        sampling.ddim_step(z_t, z_0, ALPHA_BARS[600], ALPHA_BARS[300]), sampling.noise_to(z_0, e, ALPHA_BARS[300])
    )


def test_inpainting_changes_nothing_outside_the_region_bit_for_bit() -> None:
    z, region = noise(4), torch.zeros(2, 1, 8, 8, dtype=torch.bool)
    region[:, :, 2:5, 3:6] = True
    drawn = sampling.inpaint(everything_is_one, z, region, noise(5), count=5, alpha_bars=ALPHA_BARS)
    outside = ~region.expand_as(z)
    assert torch.equal(drawn[outside], z[outside])
    torch.testing.assert_close(drawn[~outside], torch.ones_like(drawn[~outside]))


def test_inpainting_an_empty_region_gives_the_image_back_bit_for_bit() -> None:
    z = noise(6)
    region = torch.zeros(2, 1, 8, 8, dtype=torch.bool)
    assert torch.equal(sampling.inpaint(everything_is_one, z, region, noise(7), count=4, alpha_bars=ALPHA_BARS), z)


def test_the_denoiser_always_sees_the_clean_context() -> None:
    z, region = noise(8), torch.zeros(2, 1, 8, 8, dtype=torch.bool)
    region[:, :, :4] = True
    seen: list[Tensor] = []

    def watch(z_t: Tensor, _step: int) -> Tensor:
        seen.append(z_t)
        return z_t * 0.5

    sampling.inpaint(watch, z, region, noise(9), count=3, alpha_bars=ALPHA_BARS)
    outside = ~region.expand_as(z)
    assert len(seen) == 3
    assert all(torch.equal(z_t[outside], z[outside]) for z_t in seen)


def test_the_same_noise_draws_the_same_and_other_noise_draws_another() -> None:
    z, region = noise(10), torch.ones(2, 1, 8, 8, dtype=torch.bool)

    def halve(z_t: Tensor, _step: int) -> Tensor:
        return z_t * 0.5

    first, again, other = (
        sampling.inpaint(halve, z, region, noise(seed), count=4, alpha_bars=ALPHA_BARS) for seed in (11, 11, 12)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_guidance_of_one_never_asks_the_other_prompt() -> None:
    def forbidden(_z_t: Tensor, _step: int) -> Tensor:
        raise AssertionError

    assert sampling.guided(everything_is_one, forbidden, 1.0) is everything_is_one
    doubled = sampling.guided(everything_is_one, lambda z_t, _step: torch.zeros_like(z_t), 2.0)
    assert float(doubled(noise(0), 0).mean()) == 2.0
