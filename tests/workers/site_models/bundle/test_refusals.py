"""What is wrong with a MONAI bundle is refused by its file, key or label."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support import tiny_bundle
from tests.support.drawn_ct import draw
from tests.support.tiny_bundle import INFERENCE_FILE, METADATA_FILE, WEIGHTS_FILE, card_of, change, nothing, opened
from workers.errors import LabelsInvalid, ModelUnsuitable, WeightsMismatch
from workers.site_models.bundle import kind as monai_bundle

pytestmark = pytest.mark.slow
pytest.importorskip("monai")

SCALE = "preprocessing::transforms::4"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"network_def__in_channels": 2}, "network_def takes 2 channels"),
        ({"network_def__out_channels": 2}, "label 2 of channel_def lies beyond the network's 2 channels"),
        ({"network_def___target_": "UNettt"}, "names UNettt, which is no network of MONAI"),
        ({"network_def___target_": "monai.networks.nets.DenseNet121"}, "no network of MONAI that draws labels"),
        ({"network_def___target_": "AutoencoderKL"}, 'kind = "foundation"'),
        ({"network_def___target_": "generative.networks.nets.DiffusionModelUNet"}, 'kind = "foundation"'),
        ({"network_def__strides": "@nowhere"}, "refers to nowhere, which it does not define"),
        ({"network_def__strides": "@a", "a": "@b", "b": "@a"}, "refers to itself"),
        ({"network_def__strides": "%other.json::a"}, "only ids of the same file"),
        ({"network_def__strides": "@a", "a": ["@a"]}, "unfolds without end"),
        ({"network_def": [1]}, "network_def has no _target_"),
        ({"inferer": {}}, "inferer has no _target_"),
        ({"preprocessing__transforms__4": 5}, f"{SCALE} is no transform"),
        ({"postprocessing__transforms": []}, "names neither softmax, sigmoid nor argmax"),
    ],
)
def test_a_configuration_that_says_something_wrong_is_refused_by_its_key(
    folder: Path, changed: dict[str, Any], said: str
) -> None:
    change(folder, INFERENCE_FILE, **changed)
    with pytest.raises((ModelUnsuitable, LabelsInvalid)) as refused:
        card_of(folder)
    assert said in str(refused.value)


IMAGE, PRED = "network_data_format__inputs__image", "network_data_format__outputs__pred"


@pytest.mark.parametrize(
    ("changed", "error", "said"),
    [
        ({f"{IMAGE}__num_channels": 2}, ModelUnsuitable, "num_channels is 2"),
        ({"network_data_format__inputs": {"image": {}, "prior": {}}}, ModelUnsuitable, "takes 2 inputs"),
        ({"network_data_format": 1}, ModelUnsuitable, "has no network_data_format"),
        ({f"{PRED}__channel_def": None}, ModelUnsuitable, "has no network_data_format.outputs.pred.channel_def"),
        ({f"{IMAGE}__modality": "histology"}, ModelUnsuitable, "modality histology"),
        ({f"{IMAGE}__spatial_shape": [32, 32]}, ModelUnsuitable, "spatial_shape has 2 axes"),
        ({f"{PRED}__channel_def__2": "Liver"}, LabelsInvalid, "label 2 (Liver) stands twice"),
        ({f"{PRED}__channel_def__02": "spleen"}, LabelsInvalid, "label 2 stands twice"),
        ({f"{PRED}__channel_def__2": "blob"}, LabelsInvalid, "label 2 (blob) has no code"),
        ({f"{PRED}__channel_def__2": 7}, LabelsInvalid, "label 2 of channel_def needs a number from 0 and a name"),
        ({f"{PRED}__channel_def__3": "spleen"}, LabelsInvalid, "label 3 of channel_def lies beyond the 3 channels"),
        ({f"{PRED}__channel_def": {"0": "background"}}, LabelsInvalid, "no label beside the background"),
    ],
)
def test_metadata_that_say_something_wrong_are_refused_by_key_or_label(
    folder: Path, changed: dict[str, Any], error: type[Exception], said: str
) -> None:
    change(folder, METADATA_FILE, **changed)
    with pytest.raises(error) as refused:
        card_of(folder)
    assert said in str(refused.value)


def test_a_label_whose_number_stands_twice_is_refused(folder: Path) -> None:
    text = (folder / METADATA_FILE).read_text()
    (folder / METADATA_FILE).write_text(text.replace('"2": "liver tumor"', '"2": "liver tumor", "2": "spleen"'))
    with pytest.raises(LabelsInvalid, match="label 2 stands twice"):
        card_of(folder)


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        (METADATA_FILE, None, "metadata.json cannot be read"),
        (METADATA_FILE, "{", "metadata.json cannot be read"),
        (METADATA_FILE, "[]", "metadata.json holds no keys"),
        (INFERENCE_FILE, None, "has no configs/inference.json"),
        (INFERENCE_FILE, "[" * 100_000, "inference.json cannot be read"),
        (INFERENCE_FILE, "{}", "has no network_def"),
        (INFERENCE_FILE, '{"autoencoder_def": {}}', 'kind = "foundation"'),
        (WEIGHTS_FILE, None, "has no models/model.safetensors"),
    ],
)
def test_a_file_that_is_missing_or_damaged_is_named(folder: Path, file: str, text: str | None, said: str) -> None:
    (folder / file).unlink()
    if text is not None:
        (folder / file).write_text(text)
    with pytest.raises(ModelUnsuitable) as refused:
        card_of(folder)
    assert said in str(refused.value)
    assert monai_bundle.recognises(folder) is (text is not None)


def _renamed(weights: dict[str, Any], name: str) -> dict[str, Any]:
    return {f"{key}x" if key == name else key: value for key, value in weights.items()}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (_renamed, "lacks {name}"),
        (lambda weights, name: weights | {name: torch.zeros(3)}, r"has {name} as (3,)"),
        (lambda weights, _: weights | {"further.weight": torch.zeros(3)}, "has further.weight"),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_their_name(
    folder: Path, changed: Callable[[dict[str, Any], str], dict[str, Any]], said: str
) -> None:
    weights = torch.load(folder / WEIGHTS_FILE, weights_only=True)["model"]
    name = list(weights)[3]
    torch.save({"state_dict": changed(dict(weights), name)}, folder / WEIGHTS_FILE)
    with pytest.raises(WeightsMismatch) as refused:
        opened(folder)
    assert said.format(name=name) in str(refused.value)


def test_damaged_weights_are_refused_by_their_file(folder: Path) -> None:
    (folder / WEIGHTS_FILE).write_bytes((folder / WEIGHTS_FILE).read_bytes()[:5000])
    with pytest.raises(WeightsMismatch, match=r"model\.pt"):
        card_of(folder)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"preprocessing__transforms__4": tiny_bundle.transform("Spacingd", pixdim="wide")}, "cannot be made"),
        ({"network_def__norm": "polish"}, "network_def cannot be made"),
        ({"inferer__colour": "blue"}, "inferer cannot be made"),
    ],
)
def test_arguments_that_a_class_does_not_take_are_refused_by_their_key(
    folder: Path, changed: dict[str, Any], said: str
) -> None:
    change(folder, INFERENCE_FILE, **changed)
    with pytest.raises(ModelUnsuitable, match=said):
        opened(folder)


def test_transforms_that_cannot_be_applied_are_a_refusal_not_a_crash(folder: Path) -> None:
    change(folder, INFERENCE_FILE, preprocessing__transforms__4={"_target_": "ScaleIntensityd", "keys": "picture"})
    with pytest.raises(ModelUnsuitable, match="preprocessing of bundle cannot be applied: ScaleIntensityd failed"):
        opened(folder).segment(draw(1).volume, prompt=None, check=nothing)


def test_without_monai_the_error_names_the_extra(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.site_models.bundle.kind.find_spec", lambda _name: None)
    with pytest.raises(ModelUnsuitable, match="monai extra"):
        opened(trained)
