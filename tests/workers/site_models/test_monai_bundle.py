"""MONAI bundles as models of a site's own, on drawn CT with a bundle that is trained once per run."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from storage.domain import Code, LabelRole, Site
from tests.support import drawn_ct, tiny_bundle
from tests.support.drawn_ct import ANISOTROPIC, AXIAL, FLIPPED, OBLIQUE, SAGITTAL, TUMOUR, Grid, dice, draw
from workers.errors import CodeRefused, FieldOfViewMismatch, LabelsInvalid, ModelUnsuitable, WeightsMismatch
from workers.site_models import monai_bundle
from workers.site_models.bundle_grid import as_loaded
from workers.site_models.card import SiteModelCard
from workers.site_models.model_file import read_model_file
from workers.site_models.open_bundle import OpenBundle

pytestmark = pytest.mark.slow
pytest.importorskip("monai")

CPU = torch.device("cpu")
INFERENCE = "configs/inference.json"
METADATA = "configs/metadata.json"
WEIGHTS = "models/model.pt"
SCALE = "preprocessing::transforms::4"


def nothing() -> None:
    """Let the work go on."""


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle.trained(tmp_path_factory)


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> Path:
    """A copy of the trained bundle, to be changed."""
    return shutil.copytree(trained, tmp_path / "bundle")


def card_of(folder: Path) -> SiteModelCard:
    return monai_bundle.read_card(folder, read_model_file(folder))


def opened(folder: Path, *, allow_code: bool = False) -> OpenBundle:
    torch.set_num_threads(1)
    return monai_bundle.open_model(folder, card_of(folder), device=CPU, dtype=torch.float32, allow_code=allow_code)


def change(folder: Path, file: str, **values: Any) -> None:
    """Put values into a configuration, by their ids with ``__`` for each separator."""
    content = json.loads((folder / file).read_text())
    for key, value in values.items():
        place: Any = content
        *way, last = key.split("__")
        for part in way:
            place = place[int(part)] if isinstance(place, list) else place[part]
        if isinstance(place, list):
            place[int(last)] = value
        else:
            place[last] = value
    (folder / file).write_text(json.dumps(content))


def tumour_dice(model: OpenBundle, case: drawn_ct.DrawnCT) -> float:
    found = model.segment(case.volume, prompt=None, check=nothing)
    return dice(found.mask, case.truth == TUMOUR)


def test_a_bundle_is_recognised_and_its_card_read_without_monai(trained: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from workers.site_models import monai_bundle as kind;"
        f"folder = Path({str(trained)!r}); assert kind.recognises(folder); kind.read_card(folder, None);"
        "sys.exit('monai' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
    card = card_of(trained)
    assert (card.kind.value, card.version, card.licence, card.modalities) == (
        "monai-bundle",
        "0.3.1",
        "CC0-1.0",
        ("CT",),
    )
    liver, tumour = card.labels
    assert (liver.value, liver.role, liver.concept.meaning) == (1, LabelRole.ORGAN, "Liver")
    assert (tumour.value, tumour.role, tumour.site) == (2, LabelRole.LESION, Site(Code("10200004", "SCT", "Liver")))
    assert card.runs_code == ()
    assert SiteModelCard.from_json(card.to_json()) == card


GRIDS = {"axial": AXIAL, "flipped": FLIPPED, "sagittal": SAGITTAL, "oblique": OBLIQUE, "thick": ANISOTROPIC}


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS.keys())
def test_liver_and_tumour_of_held_out_volumes_are_found_in_place(trained: Path, grid: Grid) -> None:
    model = opened(trained)
    for seed in (1, 2, 3):
        case = draw(seed, grid)
        found = model.segment(case.volume, prompt=None, check=nothing)
        assert found.labelled is not None
        labels = found.labelled.labels
        assert labels.shape == case.volume.voxels.shape
        assert dice(labels > 0, case.truth > 0) > 0.93
        assert dice(labels == TUMOUR, case.truth == TUMOUR) > 0.75
        assert np.array_equal(found.mask, labels == TUMOUR)
        assert 0 <= found.score_map.min() <= found.score_map.max() <= 1
        assert found.case_score > 0.8


@pytest.mark.parametrize("grid", [FLIPPED, OBLIQUE, ANISOTROPIC], ids=["flipped", "oblique", "thick"])
def test_labels_are_those_that_monais_own_inverse_gives(trained: Path, grid: Grid) -> None:
    from monai.data.meta_tensor import MetaTensor
    from monai.transforms.compose import Compose
    from monai.transforms.post.dictionary import Invertd

    model, case = opened(trained), draw(2, grid)
    whole: Any = Compose(list(model.preprocessing))
    image = whole({"image": as_loaded(case.volume)})["image"]
    with torch.inference_mode():
        output = model.inferer(image.as_tensor()[None], model.network)[0].softmax(dim=0)
    pred = MetaTensor(output.clone(), meta=dict(image.meta))
    pred.applied_operations = image.applied_operations
    inverse: Any = Invertd(keys="pred", transform=whole, orig_keys="image", nearest_interp=False)
    theirs = inverse({"image": image, "pred": pred})["pred"].argmax(dim=0).numpy().transpose(2, 1, 0)
    labelled = model.segment(case.volume, prompt=None, check=nothing).labelled
    assert labelled is not None
    for value in (drawn_ct.LIVER, TUMOUR):
        assert dice(labelled.labels == value, theirs == value) > 0.98


def test_a_network_in_two_dimensions_is_shown_a_volume_slice_by_slice(folder: Path) -> None:
    from monai.networks.nets.unet import UNet

    flat = dict(tiny_bundle.UNET) | {"spatial_dims": 2}
    change(folder, METADATA, network_data_format__inputs__image__spatial_shape=[32, 32])
    inferer = {"_target_": "SliceInferer", "roi_size": [32, 32], "spatial_dim": 2}
    change(folder, INFERENCE, network_def=flat, inferer=inferer)
    torch.save(
        UNet(**{name: value for name, value in flat.items() if name != "_target_"}).state_dict(), folder / WEIGHTS
    )
    case = draw(1, SAGITTAL)
    labelled = opened(folder).segment(case.volume, prompt=None, check=nothing).labelled
    assert labelled is not None
    assert labelled.labels.shape == case.volume.voxels.shape


def test_nothing_is_found_in_a_healthy_liver(trained: Path) -> None:
    found = opened(trained).segment(draw(5, sick=False).volume, prompt=None, check=nothing)
    assert found.mask.sum() < 5
    assert found.case_score < 0.8


def test_what_the_check_raises_between_windows_ends_the_work(trained: Path) -> None:
    class NoLongerWantedError(Exception):
        pass

    asked = 0

    def check() -> None:
        nonlocal asked
        asked += 1
        if asked > 3:
            raise NoLongerWantedError

    with pytest.raises(NoLongerWantedError):
        opened(trained).segment(draw(1).volume, prompt=None, check=check)


def test_model_toml_adds_roles_and_limits(folder: Path) -> None:
    (folder / "model.toml").write_text(
        'format = 1\nkind = "monai-bundle"\nmodalities = ["CT", "MR"]\n'
        '[[labels]]\nvalue = 1\nname = "liver"\nrole = "lesion"\n'
        "[limits]\ntime_seconds = 9\nextent_mm = {low = [400.0, 100.0, 100.0]}\n"
    )
    card = card_of(folder)
    assert [label.role for label in card.labels] == [LabelRole.LESION, LabelRole.LESION]
    assert (card.modalities, card.limits.time_seconds, card.version) == (("CT", "MR"), 9, "0.3.1")
    with pytest.raises(FieldOfViewMismatch, match="extent"):
        card.require(draw(1).volume, name="bundle")


def test_a_volume_of_another_modality_is_excluded_by_the_card(trained: Path) -> None:
    with pytest.raises(FieldOfViewMismatch, match="for CT, not MR"):
        card_of(trained).require(draw(1, modality="MR").volume, name="bundle")


def test_configuration_in_yaml_and_weights_as_safetensors_say_the_same(folder: Path) -> None:
    import yaml
    from safetensors.torch import save_file

    case = draw(1)
    expected = opened(folder).segment(case.volume, prompt=None, check=nothing)
    content = json.loads((folder / INFERENCE).read_text())
    (folder / INFERENCE).unlink()
    (folder / "configs" / "inference.yaml").write_text(yaml.safe_dump(content))
    weights = torch.load(folder / WEIGHTS, weights_only=True)["model"]
    save_file({name: value.contiguous() for name, value in weights.items()}, folder / "models" / "model.safetensors")
    (folder / WEIGHTS).unlink()
    assert monai_bundle.recognises(folder)
    found = opened(folder).segment(case.volume, prompt=None, check=nothing)
    assert np.array_equal(found.mask, expected.mask)


def test_transforms_for_arrays_and_a_whole_image_at_once_do_as_well(folder: Path) -> None:
    steps = [
        {name: value for name, value in step.items() if name != "keys"}
        | {"_target_": step["_target_"].removesuffix("d")}
        for step in tiny_bundle.PREPROCESSING
    ]
    pad = {"_target_": "monai.transforms.DivisiblePad", "k": 4}
    change(folder, INFERENCE, preprocessing=[*steps, pad], inferer={"_target_": "monai.inferers.SimpleInferer"})
    assert tumour_dice(opened(folder), draw(2)) > 0.75


def test_what_the_postprocessing_does_to_labels_is_done(folder: Path) -> None:
    keep = {"_target_": "KeepLargestConnectedComponentd", "keys": "pred", "applied_labels": [2]}
    change(folder, INFERENCE, postprocessing={"_target_": "Compose", "transforms": [*tiny_bundle.POSTPROCESSING, keep]})
    case = draw(1)
    case.volume.voxels[2:5, 18:22, 12:16] = 200.0  # a second one, far away
    assert opened(folder).segment(case.volume, prompt=None, check=nothing).mask[2:5, 18:22, 12:16].sum() == 0


# --- code


def test_an_expression_in_the_preprocessing_runs_only_where_the_site_allows_it(folder: Path, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    change(
        folder,
        INFERENCE,
        preprocessing__transforms__4__a_min=f"$[open({str(marker)!r}, 'w').close(), @lowest][1]",
        lowest="$-100.0 - 60",
    )
    card = card_of(folder)
    assert card.runs_code[:2] == (f"{INFERENCE}: {SCALE}::a_min", f"{INFERENCE}: lowest")
    assert f"{INFERENCE}: imports::0" in card.runs_code
    with pytest.raises(CodeRefused, match=rf"{INFERENCE}: {SCALE}::a_min.*allow_code"):
        opened(folder)
    assert not marker.exists()
    assert tumour_dice(opened(folder, allow_code=True), draw(2)) > 0.75
    assert marker.exists()


def test_a_list_of_transforms_that_is_an_expression_runs_only_where_allowed(folder: Path) -> None:
    steps = tiny_bundle.PREPROCESSING
    halves = {"first": [tiny_bundle.transform("LoadImaged"), *steps[1:3]], "second": steps[3:]}
    change(folder, INFERENCE, preprocessing__transforms="$@first + @second", **halves)
    with pytest.raises(CodeRefused, match="preprocessing::transforms"):
        opened(folder)
    assert tumour_dice(opened(folder, allow_code=True), draw(2)) > 0.75


def test_each_bundle_gets_its_own_scripts_and_only_where_allowed(folder: Path, tmp_path: Path) -> None:
    other = shutil.copytree(folder, tmp_path / "other")
    for place, factor in ((folder, 1.0), (other, 0.0)):
        (place / "scripts").mkdir()
        (place / "scripts" / "__init__.py").write_text("")
        (place / "scripts" / "grey.py").write_text(
            "class Scaled:\n    def __init__(self, keys):\n        self.key = keys\n"
            f"    def __call__(self, data):\n        return data | {{self.key: data[self.key] * {factor}}}\n"
        )
        change(place, INFERENCE, preprocessing__transforms__5=tiny_bundle.transform("scripts.grey.Scaled"))
    with pytest.raises(CodeRefused, match="preprocessing::transforms::5::_target_"):
        opened(folder)
    assert tumour_dice(opened(folder, allow_code=True), draw(2)) > 0.75
    assert tumour_dice(opened(other, allow_code=True), draw(2)) == 0.0
    assert "scripts" not in sys.modules


class Planted:
    """Pickled, it makes a file where it is read."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, int]]:
        return os.open, (str(self.marker), os.O_CREAT)


def test_a_pickle_of_more_than_tensors_is_read_only_where_allowed(folder: Path, tmp_path: Path) -> None:
    weights = torch.load(folder / WEIGHTS, weights_only=True)
    marker = tmp_path / "ran"
    torch.save(weights | {"trainer": Planted(marker)}, folder / WEIGHTS, pickle_module=pickle)
    assert card_of(folder).runs_code == (f"{WEIGHTS}: a pickle of more than tensors",)
    with pytest.raises(CodeRefused, match=WEIGHTS):
        opened(folder)
    assert not marker.exists()
    assert tumour_dice(opened(folder, allow_code=True), draw(2)) > 0.75
    assert marker.exists()


def test_a_torchscript_program_runs_only_where_allowed(folder: Path) -> None:
    network = opened(folder).network
    script: Any = torch.jit
    with pytest.warns(DeprecationWarning, match="torch.jit.trace"):
        script.trace(network, torch.zeros(1, 1, 32, 32, 32)).save(folder / "models" / "model.ts")
    (folder / WEIGHTS).unlink()
    change(folder, INFERENCE, network_def="$build()")
    assert card_of(folder).runs_code == ("models/model.ts: a TorchScript program",)
    with pytest.raises(CodeRefused, match="TorchScript"):
        opened(folder)
    assert tumour_dice(opened(folder, allow_code=True), draw(2)) > 0.75


@pytest.mark.parametrize(
    ("changed", "key"),
    [
        ({"preprocessing__transforms__4": {"_target_": "os.system", "command": "true"}}, f"{SCALE}::_target_"),
        ({"preprocessing__transforms__4": {"_target_": "monai.bundle.run"}}, f"{SCALE}::_target_"),
        ({"preprocessing__transforms__4": {"_target_": "Lambdad", "keys": "image"}}, f"{SCALE}::_target_"),
        ({"preprocessing__transforms__4": {"_target_": "evil.monai.transforms.Spacingd"}}, f"{SCALE}::_target_"),
        ({"preprocessing__transforms__4": {"_target_": "$print"}}, f"{SCALE}::_target_"),
        ({"preprocessing__transforms__4___mode_": "debug"}, f"{SCALE}::_mode_"),
        ({"preprocessing__transforms__4___disabled_": "$True"}, f"{SCALE}::_disabled_"),
        ({"network_def__act": {"_target_": "torch.hub.load"}}, "network_def::act::_target_"),
        ({"network_def": {"_target_": "mine.Net"}}, "network_def::_target_"),
        ({"network_def__channels": "$[8, 16, 32]"}, "network_def::channels"),
        ({"inferer__roi_size": "@size", "size": "$(32, 32, 32)"}, "size"),
        ({"inferer": {"_target_": "SaliencyInferer"}}, "inferer::_target_"),
        ({"postprocessing__transforms__3": {"_target_": "os.remove"}}, "postprocessing::transforms::3::_target_"),
    ],
)
def test_what_runs_code_is_named_by_its_key(folder: Path, changed: dict[str, Any], key: str) -> None:
    change(folder, INFERENCE, **changed)
    assert f"{INFERENCE}: {key}" in card_of(folder).runs_code
    with pytest.raises(CodeRefused, match=key):
        opened(folder)


def test_code_that_fails_is_a_refusal_that_names_its_key(folder: Path) -> None:
    change(folder, INFERENCE, network_def__channels="$1 / 0")
    with pytest.raises(ModelUnsuitable, match=r"network_def cannot be made: ZeroDivisionError"):
        opened(folder, allow_code=True)


# --- what is wrong with a folder


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"network_def__in_channels": 2}, "takes 2 channels"),
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
    change(folder, INFERENCE, **changed)
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
    change(folder, METADATA, **changed)
    with pytest.raises(error) as refused:
        card_of(folder)
    assert said in str(refused.value)


def test_a_label_whose_number_stands_twice_is_refused(folder: Path) -> None:
    text = (folder / METADATA).read_text()
    (folder / METADATA).write_text(text.replace('"2": "liver tumor"', '"2": "liver tumor", "2": "spleen"'))
    with pytest.raises(LabelsInvalid, match="label 2 stands twice"):
        card_of(folder)


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        (METADATA, None, "metadata.json cannot be read"),
        (METADATA, "{", "metadata.json cannot be read"),
        (METADATA, "[]", "metadata.json holds no keys"),
        (INFERENCE, None, "has no configs/inference.json"),
        (INFERENCE, "[" * 100_000, "inference.json cannot be read"),
        (INFERENCE, "{}", "has no network_def"),
        (INFERENCE, '{"autoencoder_def": {}}', 'kind = "foundation"'),
        (WEIGHTS, None, "has no models/model.safetensors"),
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
    weights = torch.load(folder / WEIGHTS, weights_only=True)["model"]
    name = list(weights)[3]
    torch.save({"state_dict": changed(dict(weights), name)}, folder / WEIGHTS)
    with pytest.raises(WeightsMismatch) as refused:
        opened(folder)
    assert said.format(name=name) in str(refused.value)


def test_damaged_weights_are_refused_by_their_file(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:5000])
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
    change(folder, INFERENCE, **changed)
    with pytest.raises(ModelUnsuitable, match=said):
        opened(folder)


def test_transforms_that_cannot_be_applied_are_a_refusal_not_a_crash(folder: Path) -> None:
    change(folder, INFERENCE, preprocessing__transforms__4={"_target_": "ScaleIntensityd", "keys": "picture"})
    with pytest.raises(ModelUnsuitable, match="preprocessing of bundle cannot be applied: ScaleIntensityd failed"):
        opened(folder).segment(draw(1).volume, prompt=None, check=nothing)


def test_without_monai_the_error_names_the_extra(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.site_models.monai_bundle.find_spec", lambda _name: None)
    with pytest.raises(ModelUnsuitable, match="monai extra"):
        opened(trained)


def test_every_class_that_a_bundle_may_name_is_one_of_monais_or_pytorchs() -> None:
    from importlib import import_module

    from workers.site_models.bundle_targets import ROOMS

    missing = [
        f"{room}.{name}"
        for room, names in ROOMS.items()
        for name in names
        if not any(hasattr(import_module(room), version) for version in (name, f"{name}d"))
    ]
    assert not missing
