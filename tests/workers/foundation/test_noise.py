from __future__ import annotations

from typing import Any

import diffusers
import pytest
import torch
from torch import Tensor

from workers.errors import ModelUnsuitable
from workers.foundation.diffusers_folder import schedule_of
from workers.foundation.noise import (
    NoiseSchedule,
    PredictionKind,
    TimeShift,
    cosine_alpha_bars,
    diffusion,
    rectified_flow,
    timesteps,
)

library: Any = diffusers  # its classes carry only part of their types
STABLE_DIFFUSION = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}


def drawn(seed: int) -> Tensor:
    return torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


Z_0, EPS = drawn(0), drawn(1)


def exact_output(schedule: NoiseSchedule, step: int) -> Tensor:
    """What a network that knows z_0 and e would put out."""
    alpha, sigma = schedule.alpha_sigma(step)
    return {
        PredictionKind.EPSILON: EPS,
        PredictionKind.SAMPLE: Z_0,
        PredictionKind.VELOCITY: alpha * EPS - sigma * Z_0,
        PredictionKind.FLOW: EPS - Z_0,
        PredictionKind.FLOW_TO_IMAGE: Z_0 - EPS,
    }[schedule.kind]


def every_schedule() -> list[NoiseSchedule]:
    stable = schedule_of(STABLE_DIFFUSION)
    return [
        stable,
        schedule_of(STABLE_DIFFUSION | {"prediction_type": "v_prediction"}),
        schedule_of(STABLE_DIFFUSION | {"prediction_type": "sample"}),
        diffusion(cosine_alpha_bars(), PredictionKind.VELOCITY),
        rectified_flow(PredictionKind.FLOW),
        rectified_flow(PredictionKind.FLOW_TO_IMAGE),
    ]


@pytest.mark.parametrize("schedule", every_schedule(), ids=lambda schedule: str(schedule.kind))
@pytest.mark.parametrize("step", [1, 300, 800, 998])
def test_an_exact_prediction_of_any_kind_gives_image_and_noise_back(schedule: NoiseSchedule, step: int) -> None:
    z_t = schedule.noised(Z_0, EPS, step)
    denoised = schedule.denoised(exact_output(schedule, step), z_t, step)
    torch.testing.assert_close(denoised.x0, Z_0, rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(denoised.eps, EPS, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("kind", [PredictionKind.VELOCITY, PredictionKind.FLOW, PredictionKind.FLOW_TO_IMAGE])
def test_the_image_is_predicted_even_where_no_signal_is_left(kind: PredictionKind) -> None:
    flow = kind is not PredictionKind.VELOCITY
    schedule = rectified_flow(kind) if flow else diffusion(cosine_alpha_bars(), kind)
    assert schedule.alpha_sigma(999) == (0.0, 1.0)
    torch.testing.assert_close(schedule.denoised(exact_output(schedule, 999), EPS, 999).x0, Z_0)


def test_the_two_flow_signs_are_opposite() -> None:
    z_t = rectified_flow(PredictionKind.FLOW).noised(Z_0, EPS, 400)
    ours = rectified_flow(PredictionKind.FLOW).denoised(Z_0 - EPS, z_t, 400)
    monais = rectified_flow(PredictionKind.FLOW_TO_IMAGE).denoised(EPS - Z_0, z_t, 400)
    torch.testing.assert_close(ours.x0, monais.x0)
    assert not torch.allclose(ours.x0, Z_0)


def test_noise_cannot_be_predicted_where_no_signal_is_left() -> None:
    with pytest.raises(ModelUnsuitable, match="prediction_type"):
        diffusion(cosine_alpha_bars(), PredictionKind.EPSILON)


@pytest.mark.parametrize("name", ["DDPMScheduler", "DDIMScheduler", "PNDMScheduler"])
def test_a_schedule_does_not_depend_on_the_sampler_that_a_folder_names(name: str) -> None:
    config = dict(getattr(library, name)(**STABLE_DIFFUSION).config)
    torch.testing.assert_close(schedule_of(config).alphas, schedule_of(STABLE_DIFFUSION).alphas)


def test_noise_and_velocity_are_those_of_diffusers() -> None:
    config = STABLE_DIFFUSION | {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True}
    theirs, ours = library.DDPMScheduler(**config), schedule_of(config)
    steps = torch.tensor([700, 700])
    torch.testing.assert_close(ours.noised(Z_0, EPS, 700), theirs.add_noise(Z_0, EPS, steps))
    velocity = theirs.get_velocity(Z_0, EPS, steps)
    torch.testing.assert_close(ours.denoised(velocity, ours.noised(Z_0, EPS, 700), 700).x0, Z_0)


def test_a_flow_of_diffusers_keeps_its_shift_and_tells_the_network_the_noise_in_thousandths() -> None:
    schedule = schedule_of({"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0})
    theirs = library.FlowMatchEulerDiscreteScheduler(shift=3.0)
    assert schedule.kind is PredictionKind.FLOW
    middle = schedule.steps(2, (8, 8))[1]
    assert abs(schedule.alpha_sigma(middle)[1] - float(theirs.sigmas[500])) < 2e-3
    assert float(schedule.times[middle]) == pytest.approx(1000 * schedule.alpha_sigma(middle)[1])


def test_an_unknown_prediction_or_schedule_is_refused() -> None:
    for wrong in ({"prediction_type": "score"}, {"beta_schedule": "spiral"}):
        with pytest.raises(ModelUnsuitable, match="not understood"):
            schedule_of(STABLE_DIFFUSION | wrong)


def test_a_clipped_model_never_predicts_beyond_its_range_and_its_noise_fits() -> None:
    schedule = schedule_of(STABLE_DIFFUSION | {"clip_sample": True, "clip_sample_range": 0.5})
    z_t = schedule.noised(Z_0, EPS, 400)
    denoised = schedule.denoised(EPS, z_t, 400)
    assert float(denoised.x0.abs().max()) == 0.5
    torch.testing.assert_close(schedule.noised(denoised.x0, denoised.eps, 400), z_t)


def test_steps_fall_from_the_start_and_are_never_taken_twice() -> None:
    schedule = schedule_of(STABLE_DIFFUSION)
    assert schedule.steps(4, (8, 8)) == [999, 749, 499, 249]
    assert schedule.steps(2, (8, 8), start=0.6) == [599, 299]
    assert schedule.steps(3, (8, 8), start=0.001) == [2, 1, 0]


def test_a_larger_volume_spends_more_steps_on_noise() -> None:
    schedule = rectified_flow(PredictionKind.FLOW_TO_IMAGE, shift=TimeShift(1.0, 32**3))
    plain, larger = schedule.steps(10, (32, 32, 32)), schedule.steps(10, (64, 64, 64))
    assert plain == [999, 899, 799, 699, 599, 499, 399, 299, 199, 99]
    assert larger[0] == 999
    assert all(there > here for here, there in zip(plain[1:], larger[1:], strict=True))


def test_in_variance_preserving_form_a_flow_has_the_same_ratio_of_signal_to_noise() -> None:
    flow = rectified_flow(PredictionKind.FLOW)
    alpha, sigma = flow.alpha_sigma(299)
    bar = float(flow.alpha_bars()[299])
    assert bar / (1.0 - bar) == pytest.approx((alpha / sigma) ** 2)


def test_the_schedule_falls_from_nearly_all_signal_to_none() -> None:
    alpha_bars = cosine_alpha_bars()
    assert 0.99 < float(alpha_bars[0]) <= 1.0
    assert float(alpha_bars[-1]) == 0.0
    assert bool((alpha_bars.diff() < 0).all())


def test_sampling_starts_at_pure_noise_and_takes_the_asked_number_of_steps() -> None:
    assert timesteps(4) == [999, 749, 499, 249]
    assert timesteps(1) == [999]
