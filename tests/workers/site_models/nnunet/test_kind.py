"""nnU-Net v2 folders: found, read, loaded without running what they carry, and right wherever the scan lies."""

from __future__ import annotations

import copy
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from storage.domain import LabelRole, Segmentation, Site
from storage.objects import ObjectStore
from storage.volumes import Volume
from tests.support.ct_phantoms import LIVER, TUMOUR, CtPhantom, ct_phantom, turned
from tests.support.dicom import put_all
from workers.imaging.instances import read_headers
from workers.imaging.series import choose_series
from workers.imaging.volumes import build_volume
from workers.site_models.card import SiteModelKind
from workers.site_models.kinds import recognise
from workers.site_models.nnunet import kind as nnunet

pytest.importorskip("nnunetv2", reason="nnU-Net is not installed: pip install 'oncue[nnunet]'")

from tests.support import tiny_nnunet as tiny
from tests.support.nnunet_folders import CPU, change_checkpoint, edit, edit_configuration, opened

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]


def segmented(folder: Path, volume: Volume) -> Segmentation:
    return opened(folder).segment(volume, prompt=None, check=lambda: None)


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
    change_checkpoint(results, network_weights=weights | heads)  # each label against the background
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


def test_the_best_checkpoint_does_where_there_is_no_final_one(results: Path) -> None:
    (results / "fold_0").rename(results / "fold_all")
    (results / "fold_all" / "checkpoint_final.pth").rename(results / "fold_all" / "checkpoint_best.pth")
    assert '"folds": ["fold_all"]' in opened(results).algorithm.parameters


@pytest.mark.parametrize(("channel", "modalities"), [("CT", ("CT",)), ("FLAIR", ("MR",)), ("noNorm", ())])
def test_the_modality_follows_from_the_channel(results: Path, channel: str, modalities: tuple[str, ...]) -> None:
    edit(results / "dataset.json", lambda dataset: dataset.update(channel_names={"0": channel}))
    assert nnunet.read_card(results, None).modalities == modalities


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
