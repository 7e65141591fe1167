from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.support import tiny_models
from workers.errors import FieldOfViewMismatch, FieldOfViewUnknown, ModelUnsuitable, PickleRefused, WeightsMismatch
from workers.foundation import field_of_view
from workers.foundation.contract import BodyRegion, Condition, FoundationModel
from workers.foundation.folders import open_foundation
from workers.foundation.monai_folder import Maisi
from workers.foundation.monai_networks import MonaiAutoencoder, schedule_of
from workers.segmentation.inpainting import Redrawing, redraw

pytest.importorskip("monai", reason="MONAI is not installed: pip install 'oncue[monai]'")

CPU = torch.device("cpu")
FLOW = {
    "_target_": "monai.networks.schedulers.rectified_flow.RFlowScheduler",
    "use_timestep_transform": True,
    "scale": 1.4,
}
TOLD = {
    "2D": Condition(tokens=torch.ones(1, 5, 16)),
    "3D": Condition(vector=torch.tensor([[0.0, 0.1, 0.2, 0.4]])),
    "flow": Condition(class_label=1, spacing_mm=(1.0, 1.0, 1.0)),
    "diffusion": Condition(spacing_mm=(1.0, 1.0, 1.0), top=BodyRegion.CHEST, bottom=BodyRegion.ABDOMEN),
}
SHAPES = {"2D": (2, 1, 32, 32), "3D": (1, 1, 16, 16, 16), "flow": (1, 1, 16, 16, 16), "diffusion": (1, 1, 16, 16, 16)}


def open_it(folder: Path, dtype: torch.dtype = torch.float32) -> FoundationModel:
    return open_foundation(folder, CPU, dtype)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return {
        "2D": tiny_models.monai(root / "2D"),
        "3D": tiny_models.monai(root / "3D", dims=3, wide=True, text=False, safe=False),
        "flow": tiny_models.maisi(root / "flow"),
        "diffusion": tiny_models.maisi(root / "diffusion", flow=False),
    }


@pytest.mark.parametrize("name", SHAPES)
def test_a_saved_model_opens_and_keeps_every_promise_of_the_interface(folders: dict[str, Path], name: str) -> None:
    model, images = open_it(folders[name]), drawn(*SHAPES[name])
    z = model.encode(images)
    assert z.shape == (len(images), model.latent_channels, *(side // model.factor for side in images.shape[2:]))
    assert torch.equal(z, model.encode(images)), "the mean is encoded, never a sample"
    assert model.decode(z).shape == images.shape
    assert model.image_channels == 1
    stages = model.features(images)
    assert [stage.shape[-1] for stage in stages] == [images.shape[-1] // 2**depth for depth in range(len(stages))]
    denoised = model.denoise(z, 400, TOLD[name])
    torch.testing.assert_close(model.schedule.noised(denoised.x0, denoised.eps, 400), z, rtol=1e-4, atol=1e-4)
    assert model.spatial_dims == images.ndim - 2
    assert model.card.value_range.low == 0.0


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.slow
def test_bfloat16_gives_nearly_what_float32_gives(folders: dict[str, Path], name: str) -> None:
    images = drawn(*SHAPES[name])
    full, half = (open_it(folders[name], dtype) for dtype in (torch.float32, torch.bfloat16))
    z = full.encode(images)
    for ours, theirs in (
        (half.encode(images), z),
        (half.decode(z), full.decode(z)),
        (half.denoise(z, 500, TOLD[name]).x0, full.denoise(z, 500, TOLD[name]).x0),
    ):
        assert ours.dtype is torch.float32
        assert float((ours - theirs).abs().mean()) < 0.08 * float(theirs.abs().mean()) + 0.02


@pytest.mark.parametrize("name", SHAPES)
def test_any_model_redraws_a_region_in_two_and_in_three_dimensions(folders: dict[str, Path], name: str) -> None:
    model, images = open_it(folders[name]), drawn(*SHAPES[name])
    region = torch.zeros(images.shape, dtype=torch.bool)
    region[..., 4:9, 4:9] = True
    pair = redraw(model, images, region, Redrawing(steps=2, normal=TOLD[name]))
    assert torch.equal(pair.healthy[~region], pair.decoded[~region])
    assert not torch.equal(pair.healthy, pair.decoded)


def test_a_flow_of_monai_predicts_the_image_that_monais_own_scheduler_predicts(folders: dict[str, Path]) -> None:
    from monai.networks.schedulers import RFlowScheduler

    model = open_it(folders["flow"])
    assert isinstance(model, Maisi)
    z_t, step = torch.randn(1, 4, 4, 4, 4, generator=torch.Generator().manual_seed(1)), 599
    with torch.inference_mode():
        output = model.denoiser(
            z_t,
            torch.tensor([600.0]),
            class_labels=torch.tensor([1]),
            spacing_tensor=torch.tensor([[100.0, 100.0, 100.0]]),
        )
    theirs: Any = RFlowScheduler(num_train_timesteps=1000)
    theirs.set_timesteps(10)
    _, original = theirs.step(output, 600, z_t, 500)
    torch.testing.assert_close(model.denoise(z_t, step, TOLD["flow"]).x0, original)


@pytest.mark.parametrize("side", [32, 64])
def test_a_flow_takes_the_times_that_monais_own_scheduler_takes(side: int) -> None:
    from monai.networks.schedulers import RFlowScheduler

    theirs: Any = RFlowScheduler(use_discrete_timesteps=False, use_timestep_transform=True, scale=1.4)
    theirs.set_timesteps(30, input_img_size_numel=side**3)
    schedule = schedule_of(FLOW)
    ours = schedule.times[torch.tensor(schedule.steps(30, (side, side, side)))]
    assert float((ours - theirs.timesteps).abs().max()) <= 1.0


@pytest.mark.parametrize("names", [{"beta_schedule": "scaled_linear"}, {"schedule": "scaled_linear_beta"}])
def test_both_spellings_of_a_schedule_add_the_noise_that_monai_adds(names: dict[str, str]) -> None:
    from monai.networks.schedulers import DDPMScheduler

    theirs: Any = DDPMScheduler(schedule="scaled_linear_beta", beta_start=0.0015, beta_end=0.0195)
    z_0, eps = drawn(1, 1, 4, 4), drawn(1, 1, 4, 4, seed=1)
    ours = schedule_of(tiny_models.BETAS | names).noised(z_0, eps, 300)
    torch.testing.assert_close(ours, theirs.add_noise(z_0, eps, torch.tensor([300])))


def test_spacing_class_and_regions_change_what_maisi_predicts_and_must_be_told(folders: dict[str, Path]) -> None:
    z = torch.zeros(1, 4, 4, 4, 4)
    flow, diffusion = open_it(folders["flow"]), open_it(folders["diffusion"])
    told = flow.denoise(z, 500, TOLD["flow"]).x0
    for other in (Condition(class_label=9, spacing_mm=(1.0, 1.0, 1.0)), Condition(class_label=1, spacing_mm=(1, 1, 2))):
        assert not torch.equal(flow.denoise(z, 500, other).x0, told)
    with pytest.raises(ModelUnsuitable, match="class_label"):
        flow.denoise(z, 500, Condition(spacing_mm=(1.0, 1.0, 1.0)))
    with pytest.raises(ModelUnsuitable, match="spacing_mm"):
        flow.denoise(z, 500, Condition(class_label=1))
    with pytest.raises(ModelUnsuitable, match="bottom"):
        diffusion.denoise(z, 500, Condition(spacing_mm=(1.0, 1.0, 1.0), top=BodyRegion.CHEST))


def test_spacing_and_regions_are_told_in_hundredths(folders: dict[str, Path]) -> None:
    model = open_it(folders["diffusion"])
    assert isinstance(model, Maisi)
    heard: dict[str, Tensor] = {}
    hook = model.denoiser.register_forward_pre_hook(lambda _net, _inputs, named: heard.update(named), with_kwargs=True)
    condition = Condition(spacing_mm=(0.75, 0.75, 2.0), top=BodyRegion.HEAD_AND_NECK, bottom=BodyRegion.LOWER)
    model.denoise(torch.zeros(2, 4, 4, 4, 4), 10, condition)
    hook.remove()
    assert heard["spacing_tensor"].tolist() == [[75.0, 75.0, 200.0]] * 2
    assert heard["top_region_index_tensor"].tolist() == [[100.0, 0.0, 0.0, 0.0]] * 2
    assert heard["bottom_region_index_tensor"].tolist() == [[0.0, 0.0, 0.0, 100.0]] * 2


def test_latents_of_maisi_are_means_times_the_factor_in_its_checkpoint(folders: dict[str, Path]) -> None:
    model, images = open_it(folders["flow"]), drawn(1, 1, 16, 16, 16)
    assert isinstance(model, Maisi)
    with torch.inference_mode():
        mean, spread = model.autoencoder.network.encode(images)
    assert float(spread.mean()) > 0
    torch.testing.assert_close(model.encode(images), mean * 0.97)


def test_maisis_features_are_those_of_blocks_two_five_and_eight(folders: dict[str, Path]) -> None:
    model, images = open_it(folders["flow"]), drawn(1, 1, 16, 16, 16)
    assert isinstance(model, Maisi)
    hidden, wanted = images, []
    with torch.inference_mode():
        for index, block in enumerate(model.autoencoder.network.encoder.blocks):
            hidden = block(hidden)
            if index in (2, 5, 8):
                wanted.append(hidden.clone())
    for ours, theirs in zip(model.features(images), wanted, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_long_volume_goes_through_the_autoencoder_in_windows(folders: dict[str, Path]) -> None:
    model = open_it(folders["flow"])
    assert isinstance(model, Maisi)
    whole = model.autoencoder
    windowed = MonaiAutoencoder(whole.network, whole.scale, CPU, torch.float32, window=16)
    volume = drawn(1, 1, 8, 8, 40)
    sides: list[int] = []
    hook = whole.network.encoder.register_forward_pre_hook(lambda _net, inputs: sides.append(inputs[0].shape[-1]))
    z = windowed.encode(volume)
    hook.remove()
    assert set(sides) == {16}
    assert z.shape == (1, 4, 2, 2, 10)
    assert windowed.decode(z).shape == volume.shape


def test_tokens_change_what_a_bundle_with_text_predicts_and_must_be_told(folders: dict[str, Path]) -> None:
    model, z = open_it(folders["2D"]), torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    tokens = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(3))
    told = model.denoise(z, 300, Condition(tokens=tokens)).x0
    assert not torch.equal(model.denoise(z, 300, Condition(tokens=2 * tokens)).x0, told)
    with pytest.raises(ModelUnsuitable, match="tokens or a vector"):
        model.denoise(z, 300)


def test_weights_with_the_names_of_generative_models_are_read(tmp_path: Path) -> None:
    folder = tiny_models.monai(tmp_path / "new")
    images, z = drawn(1, 1, 32, 32), drawn(1, 3, 16, 16)
    new = open_it(folder)
    for part in ("autoencoder", "denoiser"):
        tiny_models.rename_as_generative_models(folder / f"{part}.safetensors")
    old = open_it(folder)
    assert torch.equal(old.encode(images), new.encode(images))
    assert torch.equal(old.denoise(z, 300, TOLD["2D"]).x0, new.denoise(z, 300, TOLD["2D"]).x0)


def test_weights_that_lack_a_layer_are_refused_rather_than_left_random(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = tiny_models.monai(tmp_path / "lacking")
    path = folder / "denoiser.safetensors"
    save_file({name: value for name, value in load_file(path).items() if not name.startswith("conv_in")}, path)
    with pytest.raises(WeightsMismatch, match=r"denoiser\.safetensors"):
        open_it(folder)


def test_a_pickle_and_an_expression_are_refused(tmp_path: Path) -> None:
    folder = tiny_models.maisi(tmp_path / "maisi")
    torch.save({"unet_state_dict": {}, "trainer": Path("x")}, folder / "unet.pt")
    with pytest.raises(PickleRefused, match=r"unet\.pt"):
        open_it(folder)
    text = (folder / "config.json").read_text()
    (folder / "config.json").write_text(text.replace('"num_class_embeds": 128', '"num_class_embeds": "$exit()"'))
    with pytest.raises(ModelUnsuitable, match="expression"):
        open_it(folder)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"autoencoder": "autoencoder.pt"}, "denoiser"),
        ({"autoencoder": "../autoencoder.pt", "denoiser": "unet.pt"}, "outside"),
        ({"autoencoder": "autoencoder.pt", "denoiser": "unet.pt", "definition": "none.json"}, r"none\.json"),
    ],
)
def test_a_card_that_names_no_file_or_one_elsewhere_is_refused(
    tmp_path: Path, options: dict[str, str], says: str
) -> None:
    folder = tiny_models.maisi(tmp_path / "maisi")
    tiny_models.write_card(folder, "maisi", options=options)
    with pytest.raises(ModelUnsuitable, match=says):
        open_it(folder)


def test_a_definition_of_another_network_is_refused(tmp_path: Path) -> None:
    folder = tiny_models.maisi(tmp_path / "maisi")
    content = json.loads((folder / "config.json").read_text())
    content["diffusion_unet_def"]["colour"] = "blue"
    (folder / "config.json").write_text(json.dumps(content))
    with pytest.raises(ModelUnsuitable, match="colour"):
        open_it(folder)


def test_a_volume_outside_the_trained_field_of_view_is_refused(folders: dict[str, Path]) -> None:
    card = open_it(folders["flow"]).card
    field_of_view.check(card, (32, 32, 32), (1.0, 1.0, 1.0), modality="CT", factor=4)
    with pytest.raises(FieldOfViewMismatch, match="axis 2, not 96 mm"):
        field_of_view.check(card, (32, 32, 32), (1.0, 1.0, 3.0), modality="CT", factor=4)
    with pytest.raises(FieldOfViewUnknown):
        field_of_view.check(open_it(folders["3D"]).card, (32, 32, 32), (1.0, 1.0, 1.0), modality="MR")


def test_without_monai_the_error_says_what_to_install(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.foundation.folders.find_spec", lambda _name: None)
    with pytest.raises(ModelUnsuitable, match="monai extra"):
        open_it(folders["flow"])
