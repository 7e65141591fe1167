"""nnU-Net v2 folders that are refused: each by the file, key or label that is wrong, before a job meets it."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from storage.domain import Code
from workers.errors import CodeRefused, LabelsInvalid, ModelUnsuitable, WeightsMismatch
from workers.site_models.model_file import read_model_file
from workers.site_models.nnunet import kind as nnunet

pytest.importorskip("nnunetv2", reason="nnU-Net is not installed: pip install 'oncue[nnunet]'")

from tests.support.nnunet_folders import CPU, change_checkpoint, edit, edit_configuration, opened

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]
SPLEEN = Code("78961009", "SCT", "Spleen")


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
    change_checkpoint(results, logging=RunsCode())
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
    change_checkpoint(results, inference_allowed_mirroring_axes=("a",))
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


def test_of_several_configurations_the_site_must_name_one(own_copy: Path, results: Path) -> None:
    shutil.copytree(results, results.parent / "nnUNetTrainer__nnUNetPlans__2d")
    with pytest.raises(ModelUnsuitable, match=r"several nnU-Net models .*__2d, .*__3d_fullres.* name the folder"):
        nnunet.read_card(own_copy, None)


def test_a_model_of_two_images_is_refused_by_their_names(results: Path) -> None:
    edit(results / "dataset.json", lambda dataset: dataset.update(channel_names={"0": "T1", "1": "FLAIR"}))
    with pytest.raises(ModelUnsuitable, match=r"2 images at once \(T1, FLAIR\)"):
        nnunet.read_card(results, None)


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
