from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.support import tiny_models
from tests.support.commands import oncue
from workers.errors import ModelUnsuitable, PickleRefused, WeightsMismatch
from workers.foundation.contract import Condition, FoundationModel
from workers.foundation.folders import open_foundation
from workers.segmentation.inpainting import Redrawing, redraw
from workers.segmentation.model import open_model
from workers.weights import write_manifest

CPU = torch.device("cpu")


def open_it(folder: Path, dtype: torch.dtype = torch.float32) -> FoundationModel:
    return open_model(folder, CPU, dtype)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    makers: dict[str, Callable[[Path], Path]] = {
        "stable-diffusion": tiny_models.stable_diffusion,
        "own": tiny_models.own,
    }
    return {name: make(tmp_path_factory.mktemp("models") / name) for name, make in makers.items()}


@pytest.fixture
def stable(tmp_path: Path) -> Path:
    return tiny_models.stable_diffusion(tmp_path / "stable", text=False)


SHAPES = {"stable-diffusion": (2, 1, 32, 32), "own": (2, 1, 64, 64)}


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.slow
def test_a_saved_model_opens_and_keeps_every_promise_of_the_interface(folders: dict[str, Path], name: str) -> None:
    model, images = open_it(folders[name]), drawn(*SHAPES[name]) * 2 - 1
    z = model.encode(images)
    grid = tuple(side // model.factor for side in images.shape[2:])
    assert z.shape == (2, model.latent_channels, *grid)
    assert torch.equal(z, model.encode(images)), "the mean is encoded, never a sample"
    assert model.decode(z).shape == (2, model.image_channels, *images.shape[2:])
    stages = model.features(images)
    assert [stage.shape[-1] for stage in stages] == [images.shape[-1] // 2**depth for depth in range(len(stages))]
    denoised = model.denoise(z, 400)
    torch.testing.assert_close(model.schedule.noised(denoised.x0, denoised.eps, 400), z, rtol=1e-4, atol=1e-4)
    assert (len(model.sha256), model.spatial_dims, model.device) == (64, 2, CPU)
    assert all(tensor.dtype is torch.float32 for tensor in (z, denoised.x0, denoised.eps, *stages))


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.slow
def test_bfloat16_gives_nearly_what_float32_gives(folders: dict[str, Path], name: str) -> None:
    images = drawn(*SHAPES[name]) * 2 - 1
    full, half = (open_it(folders[name], dtype) for dtype in (torch.float32, torch.bfloat16))
    z = full.encode(images)
    for ours, theirs in (
        (half.encode(images), z),
        (half.decode(z), full.decode(z)),
        (half.denoise(z, 500).x0, full.denoise(z, 500).x0),
    ):
        assert ours.dtype is torch.float32
        assert float((ours - theirs).abs().mean()) < 0.05 * float(theirs.abs().mean()) + 0.02


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.slow
def test_any_model_redraws_a_region_and_leaves_the_rest(folders: dict[str, Path], name: str) -> None:
    model, images = open_it(folders[name]), drawn(*SHAPES[name])
    region = torch.zeros(images.shape, dtype=torch.bool)
    region[..., 4:9, 4:9] = True
    pair = redraw(model, images, region, Redrawing(steps=2))
    outside = ~region.expand_as(pair.decoded)
    assert torch.equal(pair.healthy[outside], pair.decoded[outside])
    assert not torch.equal(pair.healthy, pair.decoded)


def test_text_of_a_pipeline_changes_what_its_denoiser_predicts(folders: dict[str, Path]) -> None:
    model = open_it(folders["stable-diffusion"])
    tokens = model.describe(["a tumor", "b"])
    assert tokens.shape == (2, 12, 16)
    z = model.encode(drawn(2, 1, 32, 32))
    said, unsaid = model.denoise(z, 500, Condition(tokens=tokens)).x0, model.denoise(z, 500).x0
    assert not torch.equal(said, unsaid)


def test_the_projects_own_kind_needs_its_own_loader(folders: dict[str, Path]) -> None:
    with pytest.raises(ModelUnsuitable, match="project's own"):
        open_foundation(folders["own"], CPU, torch.float32)


def test_latents_are_scaled_as_the_pipeline_scales_them(stable: Path) -> None:
    from diffusers import AutoencoderKL

    vae: Any = AutoencoderKL
    images = drawn(1, 3, 32, 32)
    with torch.no_grad():
        mean = vae.from_pretrained(stable / "vae", low_cpu_mem_usage=False).encode(images).latent_dist.mean
    torch.testing.assert_close(open_it(stable).encode(images), mean * 0.18215)


@pytest.mark.slow
def test_latents_of_a_pipeline_with_mean_and_spread_decode_as_its_own_code_decodes_them(stable: Path) -> None:
    plain = open_it(stable)
    path = stable / "vae" / "config.json"
    changed = {"latents_mean": [0.5, 0.0, -1.0, 2.0], "latents_std": [2.0, 1.0, 0.5, 4.0], "scaling_factor": 0.5}
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))
    model, images = open_it(stable), drawn(1, 3, 32, 32)
    z = model.encode(images)
    assert not torch.allclose(z, plain.encode(images))
    torch.testing.assert_close(model.decode(z), plain.decode(plain.encode(images)))


def test_an_autoencoder_and_a_denoiser_alone_take_their_schedule_from_the_card(stable: Path) -> None:
    (stable / "scheduler" / "scheduler_config.json").unlink()
    with pytest.raises(ModelUnsuitable, match="no scheduler"):
        open_it(stable)
    betas = {"beta_schedule": "scaled_linear", "prediction_type": "v_prediction"}
    tiny_models.write_card(stable, "diffusers-latent", options={"scheduler": betas})
    model = open_it(stable)
    with pytest.raises(ModelUnsuitable, match="text encoder"):
        model.describe(["tumor"])
    with pytest.raises(ModelUnsuitable, match="tokens"):
        model.denoise(torch.zeros(1, 4, 16, 16), 10)
    assert model.denoise(torch.zeros(1, 4, 16, 16), 10, Condition(tokens=torch.zeros(1, 3, 16))).x0.shape[1] == 4


@pytest.mark.parametrize(
    ("part", "changed", "says"),
    [
        ("vae", {"_class_name": "AutoencoderDC"}, "AutoencoderDC"),
        ("unet", {"_class_name": "UNetSpatioTemporalConditionModel"}, "UNetSpatioTemporal"),
    ],
)
def test_a_folder_of_another_architecture_is_refused_by_name(
    stable: Path, part: str, changed: dict[str, Any], says: str
) -> None:
    path = stable / part / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))
    with pytest.raises(ModelUnsuitable, match=says):
        open_it(stable)


def test_a_variant_for_inpainting_is_refused(stable: Path) -> None:
    tiny_models.seeded(lambda: tiny_models.tiny_text_unet(in_channels=9)).save_pretrained(stable / "unet")
    with pytest.raises(ModelUnsuitable, match="9 channels"):
        open_it(stable)


@pytest.mark.slow
def test_a_torch_file_of_plain_tensors_is_read_as_safetensors_would_be(tmp_path: Path) -> None:
    safe = tiny_models.stable_diffusion(tmp_path / "safe", text=False)
    plain = tiny_models.stable_diffusion(tmp_path / "plain", text=False, safe=False)
    assert not list(plain.rglob("*.safetensors"))
    images = drawn(1, 1, 32, 32)
    assert torch.equal(open_it(plain).encode(images), open_it(safe).encode(images))


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("write", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))])
@pytest.mark.slow
def test_a_pickle_is_refused_and_never_runs(tmp_path: Path, write: Callable[[object, Path], None]) -> None:
    folder = tiny_models.stable_diffusion(tmp_path / "bombed", text=False, safe=False)
    witness = tmp_path / "it-ran"
    write({"conv_in.weight": Bomb(witness)}, folder / "unet" / "diffusion_pytorch_model.bin")
    with pytest.raises(PickleRefused, match=r"diffusion_pytorch_model\.bin.*safetensors") as refused:
        open_it(folder)
    assert refused.value.code == "pickle_refused"
    assert oncue("models", "inspect", folder).code != 0
    assert not witness.exists()


@pytest.mark.parametrize("part", ["unet/diffusion_pytorch_model.safetensors", "unet/config.json"])
def test_a_changed_file_is_refused_where_a_manifest_vouches_for_it(stable: Path, part: str) -> None:
    manifest = write_manifest(stable, name="tiny", version="1", licence="CC0-1.0")
    assert open_it(stable).sha256 == manifest.sha256
    with (stable / part).open("ab") as file:
        file.write(b" ")
    with pytest.raises(WeightsMismatch, match=part):
        open_it(stable)


def test_without_a_manifest_the_digest_still_changes_with_every_file(stable: Path) -> None:
    before = open_it(stable).sha256
    assert open_it(stable).sha256 == before
    path = stable / "unet" / "diffusion_pytorch_model.safetensors"
    save_file({name: value + 1 for name, value in load_file(path).items()}, path)
    assert open_it(stable).sha256 != before


@pytest.mark.parametrize("spoil", [lambda path: path.write_bytes(b"x" * 100), lambda path: path.unlink()])
def test_broken_or_missing_weights_are_a_clear_error(stable: Path, spoil: Callable[[Path], None]) -> None:
    spoil(stable / "unet" / "diffusion_pytorch_model.safetensors")
    with pytest.raises(WeightsMismatch, match="unet"):
        open_it(stable)


def test_inspecting_says_what_lies_there(folders: dict[str, Path]) -> None:
    ran = oncue("models", "inspect", folders["stable-diffusion"], "--json")
    assert ran.code == 0, ran.err
    found = ran.json
    weights = list(folders["stable-diffusion"].rglob("*.safetensors"))
    assert found["parameters"] == sum(value.numel() for path in weights for value in load_file(path).values())
    assert (found["kind"], found["text"], found["licence"]) == ("diffusers-latent", True, "unknown")
    assert found["commercial_use"] is None
    assert found["field_of_view"] is None
    assert {"unet/config.json", "tokenizer/vocab.json"} <= {file["path"] for file in found["files"]}
    assert all(len(file["sha256"]) == 64 for file in found["files"])


def test_inspecting_shows_people_the_card_in_words(stable: Path) -> None:
    view = {"extent_mm": {"low": [200, 200], "high": [260, 260]}}
    tiny_models.write_card(stable, "diffusers-latent", modalities=["MR"], field_of_view=view)
    out = oncue("models", "inspect", stable).out
    for words in ("CC0-1.0", "commercial_use", "yes", "extent_mm 200..260 x 200..260, spacing_mm any", "MR"):
        assert words in out


def test_inspecting_a_folder_that_is_no_model_is_an_error_with_its_code(tmp_path: Path) -> None:
    ran = oncue("models", "inspect", tmp_path)
    assert ran.code == 1
    assert "model_unsuitable" in ran.err


def test_opening_a_model_reaches_for_no_network_and_prints_nothing(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr("socket.socket.connect", refuse)
    open_it(folders["stable-diffusion"])
    assert capfd.readouterr() == ("", "")
