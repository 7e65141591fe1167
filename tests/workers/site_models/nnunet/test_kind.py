"""nnU-Net v2 folders: found, read, loaded without running what they carry, and right wherever the scan lies."""

from __future__ import annotations

import copy
import importlib.util
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from storage.domain import Code, LabelRole, Segmentation, Site, Volume
from storage.objects import ObjectStore
from tests.support.ct_phantoms import LIVER, TUMOUR, CtPhantom, ct_phantom, turned
from tests.support.dicom import put_all
from workers.errors import CodeRefused, LabelsInvalid, ModelUnsuitable, WeightsMismatch
from workers.imaging.instances import read_headers
from workers.imaging.series import choose_series
from workers.imaging.volumes import build_volume
from workers.site_models.card import SiteModelKind
from workers.site_models.kinds import recognise
from workers.site_models.model_file import read_model_file
from workers.site_models.nnunet import kind as nnunet

pytest.importorskip("nnunetv2", reason="nnU-Net is not installed: pip install 'oncue[nnunet]'")

from tests.support import tiny_nnunet as tiny

pytestmark = pytest.mark.slow
CPU = torch.device("cpu")
SPLEEN = Code("78961009", "SCT", "Spleen")


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def own_copy(tiny_nnunet: Path, tmp_path: Path) -> Path:
    shutil.copytree(tiny_nnunet, tmp_path / "abdomen")
    return tmp_path / "abdomen"


@pytest.fixture
def results(own_copy: Path) -> Path:
    return own_copy / tiny.FOLDER


def opened(folder: Path, *, allow_code: bool = False) -> nnunet.NnunetModel:
    card = nnunet.read_card(folder, read_model_file(folder))
    return nnunet.open_model(folder, card, device=CPU, dtype=torch.float32, allow_code=allow_code)


def segmented(folder: Path, volume: Volume) -> Segmentation:
    return opened(folder).segment(volume, prompt=None, check=lambda: None)


def edit(path: Path, change: Callable[[Any], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def edit_configuration(results: Path, change: Callable[[Any], object]) -> None:
    edit(results / "plans.json", lambda plans: change(plans["configurations"][tiny.CONFIGURATION]))


def checkpoint(results: Path, **noted: object) -> None:
    path = results / "fold_0" / "checkpoint_final.pth"
    torch.save(torch.load(path, weights_only=False) | noted, path)


def dice(drawn: np.ndarray[Any, Any], true: np.ndarray[Any, Any]) -> float:
    return float(2 * (drawn & true).sum() / (drawn.sum() + true.sum()))


def test_the_card_says_what_the_folder_says(tiny_nnunet: Path) -> None:
    card = recognise(tiny_nnunet)
    liver, tumour = card.labels
    assert (card.kind, card.version, card.licence) == (SiteModelKind.NNUNET, "1.0", "CC0-1.0")
    assert (card.modalities, card.runs_code) == (("CT",), ())
    assert (liver.value, liver.role, liver.concept.meaning) == (LIVER, LabelRole.ORGAN, "Liver")
    assert (tumour.value, tumour.role, tumour.site) == (TUMOUR, LabelRole.LESION, Site(liver.concept))


@pytest.mark.parametrize("inner", ["", "Dataset901_Abdomen", tiny.FOLDER])
def test_a_model_is_found_at_each_depth_at_which_it_is_published(tiny_nnunet: Path, inner: str) -> None:
    assert nnunet.recognises(tiny_nnunet / inner)
    assert nnunet.read_card(tiny_nnunet / inner, None).labels


def test_tumours_that_it_never_saw_are_found_where_they_lie(tiny_nnunet: Path) -> None:
    model = opened(tiny_nnunet)
    for seed in range(100, 104):
        phantom = ct_phantom(seed)
        result = model.segment(phantom.volume, prompt=None, check=lambda: None)
        assert result.labelled is not None
        assert dice(result.mask, phantom.labels == TUMOUR) > 0.85
        assert dice(result.labelled.labels == LIVER, phantom.labels == LIVER) > 0.95
        assert result.score_map.dtype == np.float32
        assert result.case_score > 0.9
        assert (result.score_map[result.mask] > result.score_map[~result.mask].mean()).all()
    healthy = model.segment(ct_phantom(200, tumour=False).volume, prompt=None, check=lambda: None)
    assert not healthy.mask.any()
    assert healthy.case_score < 0.1


def test_it_reads_the_images_that_a_scanner_sends(tiny_nnunet: Path, objects: ObjectStore) -> None:
    phantom = ct_phantom(109)
    series, _ = choose_series(read_headers(put_all(objects, phantom.study()), objects))
    volume = build_volume(series, objects)
    np.testing.assert_array_equal(volume.voxels, phantom.voxels)
    assert dice(segmented(tiny_nnunet, volume).mask, phantom.labels == TUMOUR) > 0.85


def test_labels_and_probabilities_are_those_of_nnunet_itself(tiny_nnunet: Path) -> None:
    phantom = ct_phantom(110)
    ours = segmented(tiny_nnunet, phantom.volume)
    labels, probabilities = _by_nnunet(tiny_nnunet / tiny.FOLDER, phantom, mirrored=False)
    assert ours.labelled is not None
    assert (ours.labelled.labels != labels).mean() < 1e-4  # it sums tiles in half precision
    assert np.abs(ours.score_map - probabilities[TUMOUR]).max() < 0.02


def test_model_toml_can_ask_for_mirroring(own_copy: Path) -> None:
    phantom = ct_phantom(111)
    (own_copy / "model.toml").write_text("format = 1\n[nnunet]\nmirroring = true\n")
    mirrored = segmented(own_copy, phantom.volume)
    _, probabilities = _by_nnunet(own_copy / tiny.FOLDER, phantom, mirrored=True)
    assert np.abs(mirrored.score_map - probabilities[TUMOUR]).max() < 0.02
    assert '"mirroring": [0, 1, 2]' in mirrored.algorithm.parameters


def _by_nnunet(folder: Path, phantom: CtPhantom, *, mirrored: bool) -> Any:
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    predictor = nnUNetPredictor(use_mirroring=mirrored, device=CPU, allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(folder), (0,))
    facts = {"spacing": list(phantom.volume.geometry.spacing_mm)}
    return predictor.predict_single_npy_array(phantom.voxels[None], facts, None, None, True)


@pytest.mark.parametrize(
    ("order", "flipped"),
    [
        ((0, 1, 2), (True, False, False)),
        ((2, 0, 1), (False, True, False)),
        ((1, 0, 2), (True, True, False)),
        ((2, 1, 0), (True, False, True)),
    ],
    ids=["feet-first", "sagittal", "coronal", "odd"],
)
def test_the_mask_is_the_same_in_the_patient_however_the_scan_is_stored(
    tiny_nnunet: Path, order: tuple[int, int, int], flipped: tuple[bool, bool, bool]
) -> None:
    volume, axes = ct_phantom(112).volume, tuple(axis for axis in range(3) if flipped[axis])
    straight, other = segmented(tiny_nnunet, volume), segmented(tiny_nnunet, turned(volume, order, flipped))
    assert straight.mask.any()
    assert other.mask.shape == tuple(volume.voxels.shape[axis] for axis in order)
    np.testing.assert_array_equal(other.mask, np.flip(straight.mask.transpose(order), axes))
    np.testing.assert_array_equal(other.score_map, np.flip(straight.score_map.transpose(order), axes))


@pytest.mark.parametrize(
    ("change", "axes"),
    [
        ({}, "LPS"),
        ({"image_reader_writer": "NibabelIOWithReorient"}, "RAS"),
        ({"dataset_name": "Dataset291_TotalSegmentator_part1_organs_1559subj"}, "RAS"),
    ],
)
def test_arrays_run_as_those_of_training_did(results: Path, change: dict[str, str], axes: str) -> None:
    edit(results / "plans.json", lambda plans: plans.update(change))
    assert opened(results).orientation == axes


def test_the_site_can_say_how_the_arrays_of_training_ran(own_copy: Path) -> None:
    (own_copy / "model.toml").write_text('format = 1\n[input]\norientation = "LAS"\n')
    assert opened(own_copy).orientation == "LAS"


def test_a_superseded_job_stops_between_two_tiles(tiny_nnunet: Path) -> None:
    class Superseded(Exception):
        pass

    asked: list[int] = []

    def check() -> None:
        asked.append(1)
        if len(asked) == 4:
            raise Superseded

    model = opened(tiny_nnunet)
    with pytest.raises(Superseded):
        model.segment(ct_phantom(113).volume, prompt=None, check=check)
    assert len(asked) == 4
    assert model.segment(ct_phantom(113).volume, prompt=None, check=lambda: None).mask.any()


def test_nothing_of_nnunet_needs_its_environment_variables(tiny_nnunet: Path) -> None:
    assert not [name for name in os.environ if name.lower().startswith("nnunet")]
    assert opened(tiny_nnunet).megabytes > 0.1


def test_folds_are_averaged_and_can_be_named(own_copy: Path, results: Path) -> None:
    shutil.copytree(results / "fold_0", results / "fold_1")
    path = results / "fold_1" / "checkpoint_final.pth"
    content = torch.load(path, weights_only=False)
    noise = torch.Generator().manual_seed(0)
    for value in content["network_weights"].values():
        value.add_(torch.randn(value.shape, generator=noise), alpha=0.02)
    torch.save(content, path)
    volume = ct_phantom(114).volume
    both = segmented(own_copy, volume)
    (own_copy / "model.toml").write_text("format = 1\n[nnunet]\nfolds = [1]\n")
    second = segmented(own_copy, volume)
    (own_copy / "model.toml").write_text("format = 1\n[nnunet]\nfolds = [0]\n")
    first = segmented(own_copy, volume)
    assert '"folds": ["fold_0", "fold_1"]' in both.algorithm.parameters
    assert len({both.algorithm.weights_sha256, first.algorithm.weights_sha256, second.algorithm.weights_sha256}) == 3
    between = np.abs(both.score_map - first.score_map).max(), np.abs(both.score_map - second.score_map).max()
    assert min(between) > 1e-3
    assert dice(both.mask, ct_phantom(114).labels == TUMOUR) > 0.7


def test_regions_that_overlap_are_drawn_in_their_order(own_copy: Path, results: Path) -> None:
    labels = {"background": 0, "liver": [1, 2], "liver_tumor": 2, "ignore": 3}
    edit(results / "dataset.json", lambda dataset: dataset.update(labels=labels, regions_class_order=[1, 2]))
    weights = torch.load(results / "fold_0" / "checkpoint_final.pth", weights_only=False)["network_weights"]
    heads = {name: value[1:] - value[:1] for name, value in weights.items() if ".seg_layers." in name}
    checkpoint(results, network_weights=weights | heads)  # each label against the background
    phantom = ct_phantom(115)
    result = segmented(own_copy, phantom.volume)
    drawn, probabilities = _by_nnunet(results, phantom, mirrored=False)
    assert result.labelled is not None
    assert [entry.role for entry in result.labelled.table] == [LabelRole.ORGAN, LabelRole.LESION]
    assert (result.labelled.labels != drawn).mean() < 1e-3
    assert np.abs(result.score_map - probabilities[1]).max() < 0.02
    assert dice(result.mask, phantom.labels == TUMOUR) > 0.7


def test_plans_of_the_first_years_are_understood(results: Path) -> None:
    def age(configuration: Any) -> None:
        built = configuration.pop("architecture")["arch_kwargs"]
        configuration |= {
            "UNet_class_name": "PlainConvUNet",
            "UNet_base_num_features": 8,
            "unet_max_num_features": 320,
            "n_conv_per_stage_encoder": built["n_conv_per_stage"],
            "n_conv_per_stage_decoder": built["n_conv_per_stage_decoder"],
            "num_pool_per_axis": [2, 2, 2],
            "pool_op_kernel_sizes": built["strides"],
            "conv_kernel_sizes": built["kernel_sizes"],
        }

    edit_configuration(results, age)
    with pytest.warns(UserWarning, match="old nnU-Net plans"):
        model = opened(results)
    assert model.segment(ct_phantom(116).volume, prompt=None, check=lambda: None).mask.any()


def test_a_network_class_that_was_moved_since_is_found(results: Path) -> None:
    network = "dynamic_network_architectures.architectures.plain_unet.PlainConvUNet"
    edit_configuration(results, lambda configuration: configuration["architecture"].update(network_class_name=network))
    assert opened(results).megabytes > 0


def test_a_network_that_needs_another_package_says_so(results: Path) -> None:
    if importlib.util.find_spec("timm") is not None:
        pytest.skip("timm is installed here: the package that this network needs is not missing")
    network = "dynamic_network_architectures.architectures.primus.Primus"
    edit_configuration(results, lambda configuration: configuration["architecture"].update(network_class_name=network))
    with pytest.raises(ModelUnsuitable, match=r"Primus needs a package that is not installed.*timm"):
        opened(results)


class RunsCode:
    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("true",)


def test_a_checkpoint_that_carries_code_is_refused_until_the_site_allows_it(own_copy: Path, results: Path) -> None:
    checkpoint(results, logging=RunsCode())
    with pytest.raises(CodeRefused, match=r"fold_0/checkpoint_final\.pth holds more .* allow_code = true"):
        opened(own_copy)
    assert opened(own_copy, allow_code=True).megabytes > 0


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("network_class_name", "subprocess.Popen"),
        ("network_class_name", "torch.nn.modules.conv.Conv3d"),
        ("network_class_name", "dynamic_network_architectures.architectures.unet.torch.hub.load"),
        ("network_class_name", "dynamic_network_architectures.architectures.unet.NoSuchNet"),
        ("arch_kwargs.conv_op", "os.system"),
        ("arch_kwargs.norm_op", "torch.nn.modules.module.functools.partial"),
    ],
)
def test_plans_may_name_only_known_classes(results: Path, key: str, value: str) -> None:
    def change(configuration: Any) -> None:
        *way, last = key.split(".")
        held = configuration["architecture"]
        for step in way:
            held = held[step]
        held[last] = value

    edit_configuration(results, change)
    with pytest.raises(CodeRefused) as refused:
        opened(results)
    assert f"plans.json: architecture.{key} names {value}" in str(refused.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("preprocessor_name", "shutil"),
        ("preprocessor_name", "NoSuchPreprocessor"),
        ("resampling_fn_probabilities", "deepcopy"),
        ("normalization_schemes", ["OtherNormalization"]),
    ],
)
def test_plans_may_name_only_what_nnunet_has(results: Path, key: str, value: object) -> None:
    edit_configuration(results, lambda configuration: configuration.update({key: value}))
    with pytest.raises(ModelUnsuitable, match=key):
        opened(results)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("patch_size", [32, 32]),
        ("patch_size", [0, 32, 32]),
        ("patch_size", "abc"),
        ("spacing", [4.0, 0.0, 4.0]),
        ("spacing", [4.0, float("nan"), 4.0]),
        ("normalization_schemes", []),
        ("architecture", "PlainConvUNet"),
        ("resampling_fn_data_kwargs", "none"),
        ("inherits_from", "nowhere"),
    ],
)
def test_plans_that_would_fail_in_the_midst_of_a_job_are_refused(results: Path, key: str, value: object) -> None:
    edit_configuration(results, lambda configuration: configuration.update({key: value}))
    with pytest.raises(ModelUnsuitable, match=r"plans\.json"):
        opened(results)


def test_axes_that_stand_twice_are_refused(results: Path) -> None:
    edit(results / "plans.json", lambda plans: plans.update({"transpose_forward": [0, 0, 0]}))
    with pytest.raises(ModelUnsuitable, match="transpose_forward"):
        opened(results)


def test_files_that_no_program_writes_are_named(results: Path) -> None:
    whole = (results / "plans.json").read_bytes()
    (results / "plans.json").write_bytes(b"\xef\xbb\xbf" + whole)
    opened(results)
    (results / "plans.json").write_text("[" * 100_000)
    with pytest.raises(ModelUnsuitable, match=r"plans\.json of .* cannot be read"):
        opened(results)


def test_a_checkpoint_with_axes_that_are_no_numbers_is_named(results: Path) -> None:
    checkpoint(results, inference_allowed_mirroring_axes=("a",))
    with pytest.raises(ModelUnsuitable, match="fold_0/checkpoint_final"):
        opened(results)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ({"background": 0, "liver": True, "liver_tumor": 2}, "label liver has no value"),
        ({"background": 0, "liver": 1, "liver_tumor": 3}, "label liver_tumor is 3"),
        ({"background": 0, "liver": 1, "liver_tumor": 1}, "liver and liver_tumor have the same value 1"),
        ({"liver": 1, "liver_tumor": 2}, "background as 0"),
        ({"background": 0, "liver": 1, "liver_tumor": "2"}, "label liver_tumor has no value"),
        ({"background": 0, "liver": 1, "blob": 2}, "label 2 (blob) has no code"),
        ({"background": 0, "whole tumor": [1, 2], "tumor": 2}, "regions_class_order"),
    ],
)
def test_a_wrong_table_of_labels_is_refused_by_the_label(results: Path, labels: dict[str, Any], said: str) -> None:
    edit(results / "dataset.json", lambda dataset: dataset.update(labels=labels))
    with pytest.raises(LabelsInvalid) as refused:
        nnunet.read_card(results, None)
    assert said in str(refused.value)


def test_a_label_more_than_the_network_draws_is_refused(results: Path) -> None:
    edit(results / "dataset.json", lambda dataset: dataset["labels"].update(spleen=3))
    assert nnunet.read_card(results, None).labels[2].concept == SPLEEN
    with pytest.raises(LabelsInvalid, match=r"labels for 4 outputs .* fold_0/checkpoint_final\.pth draws 3"):
        opened(results)


def test_what_training_ignored_must_come_last(results: Path) -> None:
    edit(results / "dataset.json", lambda dataset: dataset["labels"].update(ignore=9))
    with pytest.raises(LabelsInvalid, match="ignore label"):
        opened(results)


def test_weights_of_another_network_are_refused_by_the_first_key(results: Path) -> None:
    def widen(configuration: Any) -> None:
        configuration["architecture"]["arch_kwargs"]["features_per_stage"] = [8, 24, 32]

    edit_configuration(results, widen)
    with pytest.raises(WeightsMismatch, match=r"encoder\.stages\.1\.0\.convs\.0\.conv\.weight has the shape"):
        opened(results)


@pytest.mark.parametrize("content", [b"", b"version https://git-lfs.github.com/spec/v1\n", b"PK\x03\x04 cut off"])
def test_a_broken_checkpoint_is_named(results: Path, content: bytes) -> None:
    (results / "fold_0" / "checkpoint_final.pth").write_bytes(content)
    with pytest.raises(WeightsMismatch, match=r"fold_0/checkpoint_final\.pth"):
        opened(results)


def test_a_folder_without_folds_says_what_is_missing(results: Path) -> None:
    shutil.rmtree(results / "fold_0")
    assert nnunet.recognises(results)
    with pytest.raises(ModelUnsuitable, match=r"holds no fold_0/checkpoint_final\.pth"):
        nnunet.read_card(results, None)


def test_the_best_checkpoint_does_where_there_is_no_final_one(results: Path) -> None:
    (results / "fold_0").rename(results / "fold_all")
    (results / "fold_all" / "checkpoint_final.pth").rename(results / "fold_all" / "checkpoint_best.pth")
    assert '"folds": ["fold_all"]' in opened(results).algorithm.parameters


def test_of_several_configurations_the_site_must_name_one(own_copy: Path, results: Path) -> None:
    shutil.copytree(results, results.parent / "nnUNetTrainer__nnUNetPlans__2d")
    with pytest.raises(ModelUnsuitable, match=r"several nnU-Net models .*__2d, .*__3d_fullres.* name the folder"):
        nnunet.read_card(own_copy, None)


def test_a_model_of_two_images_is_refused_by_their_names(results: Path) -> None:
    edit(results / "dataset.json", lambda dataset: dataset.update(channel_names={"0": "T1", "1": "FLAIR"}))
    with pytest.raises(ModelUnsuitable, match=r"2 images at once \(T1, FLAIR\)"):
        nnunet.read_card(results, None)


@pytest.mark.parametrize(("channel", "modalities"), [("CT", ("CT",)), ("FLAIR", ("MR",)), ("noNorm", ())])
def test_the_modality_follows_from_the_channel(results: Path, channel: str, modalities: tuple[str, ...]) -> None:
    edit(results / "dataset.json", lambda dataset: dataset.update(channel_names={"0": channel}))
    assert nnunet.read_card(results, None).modalities == modalities


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[input]\nspacing_mm = [1.0, 1.0, 1.0]", "input.spacing_mm"),
        ('[output]\nactivation = "sigmoid"', "output.activation"),
        ('[input]\norientation = "LRS"', "orientation must name each of left-right"),
        ("[nnunet]\nfolds = [3]", "fold_3/checkpoint_final.pth, which model.toml names"),
    ],
)
def test_model_toml_may_not_contradict_the_folder(own_copy: Path, text: str, said: str) -> None:
    (own_copy / "model.toml").write_text(f"format = 1\n{text}\n")
    with pytest.raises(ModelUnsuitable) as refused:
        nnunet.read_card(own_copy, read_model_file(own_copy))
    assert said in str(refused.value)


def test_a_second_stage_is_refused(results: Path) -> None:
    edit_configuration(results, lambda configuration: configuration.update(previous_stage="3d_lowres"))
    with pytest.raises(ModelUnsuitable, match="needs what 3d_lowres draws"):
        opened(results)


def test_without_the_extra_it_says_what_to_install(tiny_nnunet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = nnunet.read_card(tiny_nnunet, None)
    monkeypatch.setitem(__import__("sys").modules, "nnunetv2", None)
    with pytest.raises(ModelUnsuitable, match="install oncue with its nnunet extra"):
        nnunet.read_card(tiny_nnunet, None)
    with pytest.raises(ModelUnsuitable, match="install oncue with its nnunet extra"):
        nnunet.open_model(tiny_nnunet, card, device=CPU, dtype=torch.float32, allow_code=False)


def test_a_network_that_works_slice_by_slice_is_served_too(tmp_path: Path, tiny_nnunet: Path) -> None:
    plans = copy.deepcopy(json.loads((tiny_nnunet / tiny.FOLDER / "plans.json").read_text()))
    flat = plans["configurations"][tiny.CONFIGURATION]
    flat |= {"patch_size": [32, 32], "spacing": [4.0, 4.0]}
    flat["architecture"]["arch_kwargs"] |= {
        "conv_op": "torch.nn.modules.conv.Conv2d",
        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm2d",
        "kernel_sizes": [[3, 3]] * 3,
        "strides": [[1, 1], [2, 2], [2, 2]],
    }
    tiny.write(tmp_path / "flat", plans, tiny.build(plans).state_dict())
    phantom = ct_phantom(117)
    result = segmented(tmp_path / "flat", phantom.volume)
    labels, _ = _by_nnunet(tmp_path / "flat", phantom, mirrored=False)
    assert result.labelled is not None
    assert (result.labelled.labels != labels).mean() < 1e-2
