from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from torch import Tensor

from lab.training import untrained
from workers.errors import ModelUnsuitable
from workers.segmentation.cross_attention import Recorder, layer_grid, record_cross_attention

library: Any = diffusers  # its classes carry only part of their types


@pytest.fixture(scope="module")
def unet() -> Any:
    torch_state = torch.random.get_rng_state()
    torch.manual_seed(0)
    model = library.UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=(16, 16),
        layers_per_block=1,
        norm_num_groups=4,
        attention_head_dim=4,
        cross_attention_dim=12,
    ).eval()
    torch.random.set_rng_state(torch_state)
    return model


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@torch.inference_mode()
def predict(unet: Any, latents: Tensor, tokens: Tensor) -> Tensor:
    predicted: Tensor = unet(latents, 500, encoder_hidden_states=tokens).sample
    return predicted


def test_maps_are_on_the_latent_grid_and_the_tokens_share_every_place(unet: Any) -> None:
    with record_cross_attention(unet) as recorder:
        predict(unet, drawn(2, 4, 8, 8), drawn(2, 5, 12))
    assert recorder.tokens().shape == (2, 5, 8, 8)
    torch.testing.assert_close(recorder.tokens().sum(dim=1), torch.ones(2, 8, 8))
    torch.testing.assert_close(recorder.maps([1, 3]), recorder.tokens()[:, [1, 3]].mean(dim=1))


def test_recording_does_not_change_the_prediction_by_a_bit(unet: Any) -> None:
    latents, tokens = drawn(2, 4, 8, 8), drawn(2, 5, 12, seed=1)
    before = predict(unet, latents, tokens)
    with record_cross_attention(unet):
        assert torch.equal(predict(unet, latents, tokens), before)


@pytest.mark.parametrize("fails", [False, True])
def test_the_processors_come_back_whatever_happens(unet: Any, *, fails: bool) -> None:
    before = dict(unet.attn_processors)
    with pytest.raises(ZeroDivisionError) if fails else record_cross_attention(unet), record_cross_attention(unet):
        assert not fails or 1 / 0
    after = unet.attn_processors
    assert all(after[name] is processor for name, processor in before.items())
    assert not unet._forward_pre_hooks


def test_a_token_that_every_key_prefers_takes_the_attention(unet: Any) -> None:
    tokens = drawn(1, 4, 12, seed=2)
    with record_cross_attention(unet) as same:
        predict(unet, drawn(1, 4, 8, 8), tokens[:, [0, 0, 0, 0]])
    torch.testing.assert_close(same.tokens(), torch.full((1, 4, 8, 8), 0.25))
    with record_cross_attention(unet) as loud:
        predict(unet, drawn(1, 4, 8, 8), tokens * torch.tensor([60.0, 1.0, 1.0, 1.0]).view(1, -1, 1))
    assert float(loud.tokens().std()) > float(same.tokens().std()) + 0.05


def test_images_need_not_be_square_nor_of_even_size(unet: Any) -> None:
    with record_cross_attention(unet) as recorder:
        predict(unet, drawn(1, 4, 6, 10), drawn(1, 3, 12))
    assert recorder.maps([0]).shape == (1, 6, 10)
    assert layer_grid(15, (9, 5)) == (5, 3)


def test_several_passes_are_averaged(unet: Any) -> None:
    first, second = drawn(1, 4, 8, 8), drawn(1, 4, 8, 8, seed=3)
    tokens = drawn(1, 3, 12)
    parts = []
    for latents in (first, second):
        with record_cross_attention(unet) as recorder:
            predict(unet, latents, tokens)
        parts.append(recorder.tokens())
    with record_cross_attention(unet) as both:
        predict(unet, first, tokens)
        predict(unet, second, tokens)
    torch.testing.assert_close(both.tokens(), torch.stack(parts).mean(dim=0))


@pytest.mark.parametrize("ask", [Recorder.tokens, lambda recorder: recorder.maps([0])])
def test_without_a_pass_there_is_nothing_to_show(ask: Callable[[Recorder], Tensor]) -> None:
    with pytest.raises(ModelUnsuitable):
        ask(Recorder())


def test_the_projects_own_denoiser_is_recorded_from_its_projected_text() -> None:

    own = untrained.build_denoiser().eval()
    with record_cross_attention(own) as recorder:
        predict(own, drawn(1, 4, 32, 32), drawn(1, 16, 384))
    assert recorder.maps(range(2, 5)).shape == (1, 32, 32)


def test_the_words_of_a_pipeline_share_every_place_of_its_latents(tmp_path: Path) -> None:
    from tests.support import tiny_models
    from workers.foundation.contract import Condition
    from workers.foundation.diffusers_folder import DiffusersLatent
    from workers.foundation.folders import open_foundation

    folder = tiny_models.stable_diffusion(tmp_path / "stable")
    model = open_foundation(folder, torch.device("cpu"), torch.float32)
    assert isinstance(model, DiffusersLatent)
    with record_cross_attention(model.denoiser) as recorder:
        model.denoise(drawn(2, 4, 16, 16), 500, Condition(tokens=model.describe(["a tumor", "b"])))
    assert recorder.tokens().shape == (2, 12, 16, 16)
    torch.testing.assert_close(recorder.tokens().sum(dim=1), torch.ones(2, 16, 16))
