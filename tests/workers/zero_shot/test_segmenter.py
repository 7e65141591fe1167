from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from phantom.head import Phantom, head_phantom
from storage.errors import ConfigurationError
from storage.volumes import Extent
from tests.support import tiny_models
from tests.support.tiny_foundations import ANY_VIEW, change_card, volume_of
from workers.errors import (
    FieldOfViewMismatch,
    FieldOfViewUnknown,
    ModelUnsuitable,
    OutOfDeviceMemory,
    PickleRefused,
    WeightsMismatch,
)
from workers.zero_shot.analyser import FoundationAnalyser, open_foundation_analyser
from workers.zero_shot.segmenter import FoundationSegmenter

CPU = torch.device("cpu")


class Superseded(Exception):
    pass


def idle() -> None:
    pass


@pytest.fixture(scope="module")
def head() -> Phantom:
    return head_phantom(seed=3, size=48, slices=6, slice_mm=10.0)


def pipeline(folder: Path) -> Path:
    tiny_models.stable_diffusion(folder)
    tiny_models.write_card(
        folder, "diffusers-latent", conditioning="text", modalities=["MR"], field_of_view=ANY_VIEW, options={"size": 32}
    )
    return folder


def bundle(folder: Path) -> Path:
    tiny_models.monai(folder)
    tiny_models.clip(folder)
    change_card(folder, field_of_view=ANY_VIEW, options={"size": 32})
    return folder


def volumes(folder: Path) -> Path:
    tiny_models.maisi(folder)
    options = {"size": [32, 32, 16], "classes": {"normal": 1, "abnormal": 2}}
    change_card(folder, field_of_view=ANY_VIEW, modalities=["MR"], options=options)
    return folder


def opened(folder: Path) -> FoundationAnalyser:
    return open_foundation_analyser(folder, device=CPU, dtype=torch.float32, prompt="tumor")


@pytest.mark.parametrize("write", [pipeline, bundle, volumes])
def test_a_model_of_each_family_answers_on_the_volumes_own_grid_and_twice_alike(
    write: object, head: Phantom, tmp_path: Path
) -> None:
    assert callable(write)
    analyser, volume = opened(write(tmp_path / "model")), volume_of(head)
    first, second = (analyser.segment(volume, check=idle) for _ in range(2))
    assert first.mask.shape == first.score_map.shape == volume.voxels.shape
    assert first.mask.dtype == np.bool_
    assert first.score_map.dtype == np.float32
    assert float(first.score_map.min()) >= 0.0
    assert float(first.score_map.max()) <= 1.0
    assert 0.0 <= first.case_score <= 1.0
    assert np.array_equal(first.score_map, second.score_map)
    assert np.array_equal(first.mask, second.mask)
    assert first.algorithm == second.algorithm


def test_the_result_names_the_weights_and_what_it_depends_on(head: Phantom, tmp_path: Path) -> None:
    analyser = opened(pipeline(tmp_path / "model"))
    algorithm = analyser.segment(volume_of(head), check=idle).algorithm
    told = json.loads(algorithm.parameters)
    assert algorithm.weights_sha256 == analyser.segmenter.model.sha256
    assert told["prompt"] == "tumor"
    assert told["rule"]["lesion"] == analyser.segmenter.rule.lesion
    assert told["redrawing"]["steps"] > 0


def test_work_ends_between_steps_when_it_is_no_longer_wanted(head: Phantom, tmp_path: Path) -> None:
    analyser, calls = opened(pipeline(tmp_path / "model")), []

    def check() -> None:
        calls.append(1)
        if len(calls) == 2:
            raise Superseded

    with pytest.raises(Superseded):
        analyser.segment(volume_of(head), check=check)


def test_a_card_without_a_field_of_view_is_shown_nothing(head: Phantom, tmp_path: Path) -> None:
    folder = pipeline(tmp_path / "model")
    change_card(folder, field_of_view=None)
    with pytest.raises(FieldOfViewUnknown):
        opened(folder).segment(volume_of(head), check=idle)


def test_what_the_card_excludes_is_refused(head: Phantom, tmp_path: Path) -> None:
    folder = pipeline(tmp_path / "model")
    with pytest.raises(FieldOfViewMismatch, match="trained for MR, not CT"):
        opened(folder).segment(volume_of(head, modality="CT"), check=idle)
    small = {"low": [20.0, 20.0], "high": [90.0, 90.0]}
    change_card(folder, field_of_view={"extent_mm": small, "spacing_mm": None})
    with pytest.raises(FieldOfViewMismatch, match="20 to 90 mm on axis 0"):
        opened(folder).segment(volume_of(head), check=idle)


def test_an_image_of_unknown_spacing_is_refused_where_the_card_has_limits_in_millimetres(
    head: Phantom, tmp_path: Path
) -> None:
    folder, volume = pipeline(tmp_path / "model"), replace(volume_of(head), extent=Extent.UNKNOWN)
    opened(folder).segment(volume, check=idle)
    limits = {"low": [20.0, 20.0], "high": [900.0, 900.0]}
    change_card(folder, field_of_view={"extent_mm": limits, "spacing_mm": None})
    with pytest.raises(FieldOfViewMismatch, match="does not say its pixel spacing"):
        opened(folder).segment(volume, check=idle)


def test_missing_and_changed_files_are_refused(tmp_path: Path) -> None:
    folder = pipeline(tmp_path / "model")
    weights = next((folder / "unet").glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-8])
    with pytest.raises(WeightsMismatch, match="unet"):
        opened(folder)
    weights.unlink()
    with pytest.raises(WeightsMismatch, match="unet"):
        opened(folder)


def test_a_folder_with_a_pickle_that_could_run_code_is_refused(tmp_path: Path) -> None:
    folder = volumes(tmp_path / "model")
    torch.save({"network": Superseded}, folder / "unet.pt")
    with pytest.raises(PickleRefused, match=r"unet\.pt"):
        opened(folder)


def test_a_card_that_does_not_say_what_stands_for_normal_is_refused(head: Phantom, tmp_path: Path) -> None:
    folder = volumes(tmp_path / "model")
    change_card(folder, options={"classes": {"normal": 1}})
    with pytest.raises(ModelUnsuitable, match="abnormal"):
        opened(folder).segment(volume_of(head), check=idle)


def test_an_empty_prompt_is_refused(head: Phantom, tmp_path: Path) -> None:
    segmenter = FoundationSegmenter.load(pipeline(tmp_path / "model"), device=CPU, dtype=torch.float32)
    with pytest.raises(ConfigurationError, match="prompt"):
        segmenter.segment(volume_of(head), prompt=" ", check=idle)


def test_a_device_without_memory_is_named_as_such(head: Phantom, tmp_path: Path) -> None:
    analyser = opened(pipeline(tmp_path / "model"))

    def exhausted() -> None:
        raise torch.OutOfMemoryError

    with pytest.raises(OutOfDeviceMemory, match="tiny diffusers-latent"):
        analyser.segment(volume_of(head), check=exhausted)


class WholeHead:
    threshold = 0.4

    def score(self, images: torch.Tensor, features: list[torch.Tensor], prompt: torch.Tensor) -> torch.Tensor:
        assert len(features) > 1
        assert prompt.shape == (384,)
        return torch.full_like(images, 0.45)


def test_a_head_trained_on_the_model_takes_the_place_of_the_fusion(head: Phantom, tmp_path: Path) -> None:
    analyser = opened(pipeline(tmp_path / "model"))
    with_head = replace(analyser.segmenter, head=WholeHead())
    found = with_head.segment(volume_of(head), prompt="tumor", check=idle)
    assert found.mask[3].mean() > 0.5
    assert float(found.score_map.max()) == pytest.approx(0.45)
