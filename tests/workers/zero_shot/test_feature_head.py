from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from lab.training import head_folder
from tests.support import tiny_models
from workers import devices, weights
from workers.errors import ModelUnsuitable, WeightsMismatch
from workers.foundation.card import ValueRange
from workers.foundation.contract import FoundationModel
from workers.foundation.folders import inspect_folder, open_foundation
from workers.foundation.weight_files import take_inventory
from workers.segmentation import networks
from workers.segmentation.networks import AnomalyNetwork, NetworkShape
from workers.zero_shot.feature_head import FeatureHead, HeadCard, HeldOut, head_shape, load_head

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")


def opened(folder: Path) -> FoundationModel:
    return open_foundation(folder, CPU, torch.float32)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def write_head(folder: Path, model: FoundationModel) -> FeatureHead:
    """Write an untrained head for a model, whose scores are not all alike."""
    shape = head_shape(model)
    network = tiny_models.seeded(lambda: AnomalyNetwork(shape))
    held_out = HeldOut(0.5, 0.5, 0.1, 10)
    card = HeadCard(model.card.name, model.sha256, shape.channels, 32, "MR", 0.5, held_out, slices=9, steps=3, seed=0)
    head = FeatureHead(card, devices.frozen(network, CPU), drawn(384), model.card.value_range)
    head_folder.write(head, folder / "head", licence="CC0-1.0")
    return head


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tiny_models.stable_diffusion(tmp_path / "sd", text=False)
    write_head(folder, opened(folder))
    return folder


@pytest.mark.parametrize("channels", [(8,), (8, 16), (32, 64, 96), (8, 8, 8, 8), (4, 4, 4, 4, 4)], ids=len)
def test_a_network_takes_features_of_one_to_five_stages(channels: tuple[int, ...]) -> None:
    network = tiny_models.seeded(lambda: AnomalyNetwork(NetworkShape(channels, context=1)))
    features = [drawn(2, count, 48 >> level, 32 >> level) for level, count in enumerate(channels)]
    with torch.inference_mode():
        logits = network(drawn(2, 1, 48, 32), features, drawn(2, 384), drawn(2, 384, seed=1))
    assert logits.pixels.shape == (2, 1, 48, 32)
    assert logits.attention_map.shape == (2, 1, 48, 32)


def test_the_shipped_networks_have_the_shape_that_is_taken_where_none_is_named() -> None:
    shipped = load_file(Path(__file__).parents[3] / "models/segmentation-lgg-small/adapters" / networks.WEIGHTS_FILE)
    assert {name: value.shape for name, value in AnomalyNetwork().state_dict().items()} == {
        name: value.shape for name, value in shipped.items()
    }


def test_a_model_without_a_head_has_none(tmp_path: Path) -> None:
    folder = tiny_models.stable_diffusion(tmp_path / "sd", text=False)
    assert load_head(folder, opened(folder)) is None


@pytest.mark.parametrize(("rows", "columns"), [(32, 32), (48, 34), (50, 22)])
def test_a_loaded_head_scores_images_of_every_size_that_the_model_takes(folder: Path, rows: int, columns: int) -> None:
    model = opened(folder)
    head = load_head(folder, model)
    assert head is not None
    images = drawn(3, 1, rows, columns) * 2 - 1
    scores = head.score(images, model.features(images), drawn(384, seed=2))
    assert scores.shape == (3, 1, rows, columns)
    assert 0.0 <= float(scores.min()) < float(scores.max()) <= 1.0


def test_a_head_scores_the_same_after_it_was_stored(tmp_path: Path) -> None:
    folder = tiny_models.stable_diffusion(tmp_path / "sd", text=False)
    model = opened(folder)
    written, images, prompt = write_head(folder, model), drawn(2, 1, 32, 32), drawn(384, seed=2)
    loaded = load_head(folder, model)
    assert loaded is not None
    assert loaded.card == written.card
    features = model.features(images)
    stored = loaded.score(images, features, prompt)
    torch.testing.assert_close(stored, written.score(images, features, prompt), rtol=0, atol=2e-2)


def test_a_head_takes_the_models_own_range_of_values(folder: Path) -> None:
    model = opened(folder)
    head = load_head(folder, model)
    assert head is not None
    images, prompt = drawn(2, 1, 32, 32) * 2 - 1, drawn(384, seed=2)
    features = model.features(images)
    positive = FeatureHead(head.card, head.network, head.normal, ValueRange(0.0, 1.0))
    expected = head.score(images, features, prompt)
    torch.testing.assert_close(positive.score((images + 1) / 2, features, prompt), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("manifest", [False, True], ids=["without manifest", "with manifest"])
def test_a_head_leaves_the_models_own_digest_as_it_was(tmp_path: Path, *, manifest: bool) -> None:
    folder = tiny_models.stable_diffusion(tmp_path / "sd", text=False)
    if manifest:
        weights.write_manifest(folder, name="sd", version="1", licence="CC0-1.0")
    before = opened(folder)
    write_head(folder, before)
    assert opened(folder).sha256 == before.sha256
    assert load_head(folder, opened(folder)) is not None
    assert all(not file.path.startswith("head/") for file in inspect_folder(folder).inventory.files)
    (folder / "head" / "more.safetensors").write_bytes(b"x")
    if manifest:
        with pytest.raises(WeightsMismatch, match=r"head/more\.safetensors"):
            take_inventory(folder)
    else:
        assert take_inventory(folder).sha256 != before.sha256


def test_a_head_whose_file_was_changed_is_refused_by_name(folder: Path) -> None:
    path = folder / "head" / "head.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(WeightsMismatch, match=r"head\.safetensors"):
        load_head(folder, opened(folder))


def test_a_head_without_its_manifest_is_refused(folder: Path) -> None:
    (folder / "head" / "manifest.json").unlink()
    with pytest.raises(WeightsMismatch, match=r"manifest\.json"):
        load_head(folder, opened(folder))


def test_a_head_of_another_model_is_refused(folder: Path, tmp_path: Path) -> None:
    other = tiny_models.stable_diffusion(tmp_path / "other", text=False)
    config = json.loads((other / "scheduler" / "scheduler_config.json").read_text())
    (other / "scheduler" / "scheduler_config.json").write_text(json.dumps(config | {"beta_end": 0.013}))
    shutil.copytree(folder / "head", other / "head")
    with pytest.raises(WeightsMismatch, match="another digest"):
        load_head(other, opened(other))


def rewrite_card(folder: Path, **changes: object) -> None:
    path = folder / "head" / "head.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    weights.write_manifest(folder / "head", name="head", version="1", licence="CC0-1.0")


def test_a_head_for_other_channels_is_refused(folder: Path) -> None:
    rewrite_card(folder, channels=[8, 32])
    with pytest.raises(WeightsMismatch, match=r"\(8, 32\).*\(8, 16\)"):
        load_head(folder, opened(folder))


@pytest.mark.parametrize("changes", [{"format": 7}, {"colour": "red"}, {"held_out": 3}], ids=str)
def test_a_card_of_another_version_is_refused(folder: Path, changes: dict[str, object]) -> None:
    rewrite_card(folder, **changes)
    with pytest.raises(WeightsMismatch, match=r"head\.json"):
        load_head(folder, opened(folder))


def test_weights_that_do_not_fit_are_refused_by_their_first_name(folder: Path) -> None:
    path = folder / "head" / "head.safetensors"
    save_file({name: value for name, value in load_file(path).items() if name != "head.grow.bias"}, path)
    weights.write_manifest(folder / "head", name="head", version="1", licence="CC0-1.0")
    with pytest.raises(WeightsMismatch, match=r"head\.grow\.bias"):
        load_head(folder, opened(folder))


def test_models_of_volumes_have_no_head(tmp_path: Path) -> None:
    pytest.importorskip("monai", reason="an extra")
    model = opened(tiny_models.monai(tmp_path / "monai", dims=3, text=False))
    with pytest.raises(ModelUnsuitable, match="model of volumes"):
        head_shape(model)
