"""Every family from a folder on disk, without a network; and refusals before anything unsafe is loaded."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.support.encoders import FAMILIES, picture, save_encoder
from workers.errors import BackboneMissing, BackboneUnusable, EmbeddingNotFinite, UnreadablePicture, WeightsMismatch
from workers.fewshot.contracts import Framing, Interpolation, Preprocessing
from workers.fewshot.encoder_networks import ContrastiveEncoder, Feature, TokenEncoder, TokenPart, load_optional
from workers.fewshot.frozen_backbone import TorchBackbone
from workers.fewshot.preprocessing import cell_weights, from_processor, to_tensor
from workers.fewshot.registry import NewBackbone, cards, installed, open_backbone, register

CPU = torch.device("cpu")
PREPROCESSING = Preprocessing(16, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def _added(tmp_path: Path, family: str) -> TorchBackbone:
    folder = save_encoder(tmp_path / family, family)
    register(folder, NewBackbone("tiny", "MIT", commercial_use=True), models=tmp_path / "models")
    return open_backbone("tiny", models=tmp_path / "models", device=CPU)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.slow
def test_every_family_opens_from_its_folder_and_embeds_the_same_way_every_time(family: str, tmp_path: Path) -> None:
    backbone = _added(tmp_path, family)
    pictures = [picture(0), picture(1, shape=(20, 64)), picture(2)]
    seen, again = backbone.embed(pictures), backbone.embed(pictures)
    assert seen.pooled.shape == (3, backbone.card.dimensions)
    assert seen.grid.shape[0] == 3
    assert seen.grid.shape[3] == backbone.card.grid_channels
    np.testing.assert_array_equal(seen.pooled, again.pooled)
    # In a random EfficientNet this small every signal dies out before the last layer.
    assert family == "efficientnet" or not np.allclose(seen.pooled[0], seen.pooled[2])
    assert backbone.card.licence == "MIT"
    assert backbone.card.has_text is (family == "clip")
    assert not any(one.requires_grad for one in backbone.encoder.parameters())


def test_an_alien_picture_in_the_batch_does_not_change_the_vectors_of_others(tmp_path: Path) -> None:
    backbone = _added(tmp_path, "vit")
    alone, beside = backbone.embed([picture(0)]), backbone.embed([picture(0), picture(5)])
    np.testing.assert_allclose(alone.pooled[0], beside.pooled[0], atol=1e-5)


def test_a_changed_weight_file_is_refused_by_name(tmp_path: Path) -> None:
    _added(tmp_path, "vit")
    weights = tmp_path / "models" / "backbone-tiny" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(WeightsMismatch, match=r"model\.safetensors"):
        open_backbone("tiny", models=tmp_path / "models", device=CPU)


def test_a_changed_preprocessing_is_refused_too(tmp_path: Path) -> None:
    _added(tmp_path, "vit")
    described = tmp_path / "models" / "backbone-tiny" / "backbone.json"
    described.write_text(described.read_text().replace('"bicubic"', '"bilinear"'))
    with pytest.raises(WeightsMismatch, match=r"backbone\.json"):
        open_backbone("tiny", models=tmp_path / "models", device=CPU)


def test_pickled_weights_are_not_taken_in(tmp_path: Path) -> None:
    folder = save_encoder(tmp_path / "vit", "vit")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(BackboneUnusable, match="pickled"):
        register(folder, NewBackbone("tiny", "MIT", commercial_use=True), models=tmp_path / "models")
    assert "tiny" not in installed(tmp_path / "models")


def test_a_folder_that_asks_for_code_of_its_own_is_refused(tmp_path: Path) -> None:
    folder = save_encoder(tmp_path / "vit", "vit")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoModel": "evil.Model"}}))
    with pytest.raises(BackboneUnusable, match="code of its own"):
        register(folder, NewBackbone("tiny", "MIT", commercial_use=True), models=tmp_path / "models")


def test_weights_that_hold_nan_are_refused_and_leave_nothing_behind(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = save_encoder(tmp_path / "vit", "vit")
    weights = load_file(folder / "model.safetensors")
    weights["layernorm.weight"][0] = float("nan")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EmbeddingNotFinite):
        register(folder, NewBackbone("tiny", "MIT", commercial_use=True), models=tmp_path / "models")
    assert not (tmp_path / "models" / "backbone-tiny").exists()


def test_a_truncated_folder_is_refused_instead_of_being_filled_with_noise(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = save_encoder(tmp_path / "vit", "vit")
    weights = load_file(folder / "model.safetensors")
    del weights["layernorm.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BackboneUnusable, match="lacks weights"):
        register(folder, NewBackbone("tiny", "MIT", commercial_use=True), models=tmp_path / "models")


@pytest.mark.parametrize("name", ["", "../outside", "dinov2-small-focus", "Ünï"])
def test_a_name_that_is_taken_or_leads_elsewhere_is_refused(name: str, tmp_path: Path) -> None:
    folder = save_encoder(tmp_path / "vit", "vit")
    with pytest.raises(BackboneUnusable, match="name"):
        register(folder, NewBackbone(name, "MIT", commercial_use=True), models=tmp_path / "models")


def test_a_missing_backbone_is_named_with_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(BackboneMissing, match="dinov2-small-focus"):
        open_backbone("clip", models=tmp_path, device=CPU)
    assert [card.name for card in cards(tmp_path)] == ["dinov2-small-focus"]


def test_a_library_that_cannot_be_imported_is_named_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(BackboneMissing, match="hub-backbones"):
        load_optional(tmp_path, "timm")


def test_the_feature_decides_the_length_and_the_grid() -> None:
    from transformers import ViTConfig, ViTModel

    config = ViTConfig(
        hidden_size=32, num_hidden_layers=3, num_attention_heads=2, intermediate_size=48, image_size=32, patch_size=8
    )
    network: Any = ViTModel(config)
    feature = Feature(layers=(1, 2, 0), parts=(TokenPart.CLASS, TokenPart.MEAN, TokenPart.SPREAD), grid_layers=(1, 2))
    pooled, grid = TokenEncoder(network.eval(), feature, prefix=1)(torch.zeros(2, 3, 32, 32))
    assert pooled.shape == (2, 3 * 3 * 32)
    assert grid.shape == (2, 4, 4, 2 * 32)


def test_a_picture_of_a_wrong_shape_is_named() -> None:
    with pytest.raises(UnreadablePicture, match="picture 1"):
        to_tensor([picture(), picture()[..., 0]], PREPROCESSING)


@pytest.mark.parametrize(("fit", "white"), [(Framing.STRETCH, 0.5), (Framing.CENTRE_CROP, 1.0), (Framing.PAD, 0.25)])
def test_the_fit_decides_what_becomes_of_a_wide_picture(fit: Framing, white: float) -> None:
    wide = np.zeros((20, 40, 3), dtype=np.uint8)
    wide[:, 10:30] = 255
    preprocessing = Preprocessing(8, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), Interpolation.BILINEAR, fit)
    assert float(to_tensor([wide], preprocessing).mean()) == pytest.approx(white, abs=0.02)


def test_a_mask_is_framed_as_its_picture() -> None:
    mask = np.zeros((20, 40), dtype=bool)
    mask[:, 10:30] = True
    preprocessing = Preprocessing(8, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), fit=Framing.CENTRE_CROP)
    assert cell_weights(mask, preprocessing, cells=(4, 4)).min() == pytest.approx(1.0)
    stretched = cell_weights(mask, Preprocessing(8, (0.0,) * 3, (1.0,) * 3), cells=(4, 4))
    np.testing.assert_allclose(stretched[0], [0, 1, 1, 0], atol=0.02)


def test_a_published_processor_is_translated() -> None:
    content = {"size": {"shortest_edge": 224}, "image_mean": [0.1, 0.2, 0.3], "image_std": [1, 1, 1], "resample": 2}
    preprocessing = from_processor(content, fallback=PREPROCESSING)
    assert preprocessing == Preprocessing(224, (0.1, 0.2, 0.3), (1.0, 1.0, 1.0), Interpolation.BILINEAR)


def test_the_vision_tower_of_clip_lies_in_the_projected_space(tmp_path: Path) -> None:
    backbone = _added(tmp_path, "clip_vision_projected")
    assert isinstance(backbone.encoder, ContrastiveEncoder)
    assert backbone.card.dimensions == 16
