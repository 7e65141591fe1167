"""What a small trained network finds as ONNX and as TorchScript, from scans that are stored in other ways."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage

from storage.domain import LabelRole, Segmentation
from storage.volumes import Volume
from tests.support.ct_phantoms import LIVER, TUMOUR, ct_phantom, turned
from tests.support.tiny_networks import HELD_OUT, TinyNetworks, dice
from workers.errors import FieldOfViewMismatch, UnsuitableVolume
from workers.site_models.file_digests import digest_all, take_files
from workers.site_models.kinds import OpenModel, kind_module, recognise

pytestmark = pytest.mark.slow


def opened(folder: Path) -> OpenModel:
    card = recognise(folder)
    return kind_module(card.kind).open_model(
        folder, card, device=torch.device("cpu"), dtype=torch.float32, allow_code=True
    )


def found(model: OpenModel, volume: Volume) -> Segmentation:
    return model.segment(volume, prompt=None, check=lambda: None)


def labels(segmentation: Segmentation) -> np.ndarray:
    assert segmentation.labelled is not None
    return segmentation.labelled.labels


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module", params=["onnx", "torchscript"])
def model(request: pytest.FixtureRequest, tiny_networks: TinyNetworks) -> OpenModel:
    return opened(getattr(tiny_networks, request.param))


def test_organ_and_lesion_are_found_on_scans_that_were_not_trained_on(model: OpenModel) -> None:
    for seed in HELD_OUT:
        phantom = ct_phantom(seed)
        segmentation = found(model, phantom.volume)
        assert dice(labels(segmentation) > 0, phantom.labels > 0) > 0.95
        assert dice(segmentation.mask, phantom.labels == TUMOUR) > 0.9
        assert segmentation.case_score > 0.9
        healthy = found(model, ct_phantom(seed, tumour=False).volume)
        assert not healthy.mask.any()
        assert healthy.case_score < 0.5


def test_both_kinds_draw_the_same(tiny_networks: TinyNetworks) -> None:
    onnx, torchscript = opened(tiny_networks.onnx), opened(tiny_networks.torchscript)
    for seed in HELD_OUT:
        volume = ct_phantom(seed).volume
        one, other = found(onnx, volume), found(torchscript, volume)
        assert (labels(one) != labels(other)).mean() < 0.005
        np.testing.assert_allclose(one.score_map, other.score_map, atol=1e-3)


@pytest.mark.parametrize(
    ("order", "flipped"),
    [
        ((0, 1, 2), (True, False, False)),
        ((0, 1, 2), (False, True, True)),
        ((2, 0, 1), (False, True, False)),
        ((1, 2, 0), (True, False, True)),
    ],
)
def test_a_scan_stored_another_way_gives_the_same_in_the_same_place(
    tiny_networks: TinyNetworks, order: tuple[int, int, int], flipped: tuple[bool, bool, bool]
) -> None:
    model, volume = opened(tiny_networks.onnx), ct_phantom(HELD_OUT[0]).volume
    axes = tuple(axis for axis in range(3) if flipped[axis])
    wanted = np.flip(labels(found(model, volume)).transpose(order), axes)
    np.testing.assert_array_equal(labels(found(model, turned(volume, order, flipped))), wanted)


def test_a_scan_of_another_spacing_gives_the_same_in_the_same_place(tiny_networks: TinyNetworks) -> None:
    phantom = ct_phantom(HELD_OUT[1])
    thin = ndimage.zoom(phantom.voxels, 2, order=1, mode="nearest", grid_mode=True)
    drawn = phantom.labels.repeat(2, 0).repeat(2, 1).repeat(2, 2)
    z, y, x = phantom.volume.geometry.spacing_mm
    volume = replace(
        phantom.volume, voxels=thin, geometry=replace(phantom.volume.geometry, spacing_mm=(z / 2, y / 2, x / 2))
    )
    segmentation = found(opened(tiny_networks.onnx), volume)
    assert segmentation.mask.shape == thin.shape
    assert dice(labels(segmentation) > 0, drawn > 0) > 0.95
    assert dice(segmentation.mask, drawn == TUMOUR) > 0.85


def test_a_scan_smaller_than_the_patch_is_drawn_whole(tiny_networks: TinyNetworks) -> None:
    phantom = ct_phantom(HELD_OUT[2])
    part = (slice(6, 15), slice(10, 46), slice(4, 40))
    segmentation = found(opened(tiny_networks.onnx), replace(phantom.volume, voxels=phantom.voxels[part]))
    assert dice(labels(segmentation) > 0, phantom.labels[part] > 0) > 0.9


def test_the_result_says_which_model_it_is_from_and_what_its_labels_mean(tiny_networks: TinyNetworks) -> None:
    segmentation = found(opened(tiny_networks.onnx), ct_phantom(HELD_OUT[0]).volume)
    assert segmentation.labelled is not None
    liver, tumour = segmentation.labelled.table
    assert (liver.value, liver.role, liver.concept.value) == (LIVER, LabelRole.ORGAN, "10200004")
    assert (tumour.value, tumour.role) == (TUMOUR, LabelRole.LESION)
    assert tumour.site is not None
    assert tumour.site.concept == liver.concept
    assert segmentation.algorithm.weights_sha256 == digest_all(take_files(tiny_networks.onnx))
    assert json.loads(segmentation.algorithm.parameters)["input"]["patch"] == [16, 40, 40]
    assert segmentation.score_map.dtype == np.float32
    assert 0 <= segmentation.score_map.min() <= segmentation.score_map.max() <= 1


def test_memory_is_that_of_the_weights(model: OpenModel) -> None:
    assert 0.03 < model.megabytes < 0.1  # about 9 000 weights of 4 bytes, and the graph


def test_a_scan_with_values_that_are_no_numbers_is_refused(model: OpenModel) -> None:
    volume = ct_phantom(HELD_OUT[0]).volume
    voxels = volume.voxels.copy()
    voxels[3, 3, 3] = np.nan
    with pytest.raises(UnsuitableVolume, match="not finite"):
        found(model, replace(volume, voxels=voxels))


def test_what_the_worker_raises_between_patches_comes_through(model: OpenModel) -> None:
    class NoLongerWanted(Exception):
        pass

    def check() -> None:
        raise NoLongerWanted

    with pytest.raises(NoLongerWanted):
        model.segment(ct_phantom(HELD_OUT[0]).volume, prompt=None, check=check)


def test_another_modality_is_refused_by_the_card(tiny_networks: TinyNetworks) -> None:
    volume = replace(ct_phantom(HELD_OUT[0]).volume, modality="MR")
    with pytest.raises(FieldOfViewMismatch, match="is for CT, not MR"):
        recognise(tiny_networks.onnx).require(volume, name="liver")
