from __future__ import annotations

import numpy as np
import pytest

from storage.volumes import Geometry
from workers.errors import UnsuitableVolume
from workers.site_models.label_codes import code_labels
from workers.site_models.model_file import Activation, InputSection, OutputSection
from workers.site_models.network.label_drawing import draw
from workers.site_models.network.output_channels import output_channels
from workers.site_models.network.placing import Placement, place

CHANNELS = output_channels(1, OutputSection(activation=Activation.NONE), code_labels({1: "tumour"}), name="m")


def placed(shape: tuple[int, int, int], **wanted: object) -> Placement:
    geometry = Geometry((0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (1.0, 1.0, 1.0))
    return place(geometry, shape, InputSection.model_validate(wanted))


def test_on_the_volumes_own_grid_probabilities_stay_exactly_what_they_are() -> None:
    likely = np.random.default_rng(0).random((5, 6, 7), dtype=np.float32)
    placement = placed((5, 6, 7), orientation="RAI", axes="xzy")
    drawing = draw(placement.to_network(likely)[:, None], placement, CHANNELS)
    np.testing.assert_array_equal(drawing.lesion, likely)
    np.testing.assert_array_equal(drawing.labels, (likely >= 0.5).astype(np.uint8))


@pytest.mark.parametrize("spacing", [(2.0, 3.0, 1.5), (0.5, 0.7, 0.4), (4.0, 1.0, 1.0), (0.3, 4.0, 2.0)])
def test_a_smooth_ball_comes_back_in_place_from_any_grid(spacing: tuple[float, float, float]) -> None:
    places = np.indices((30, 40, 36)) - np.array([14, 22, 17])[:, None, None, None]
    likely = np.clip(0.5 + (9 - np.sqrt((places**2).sum(axis=0))) / 12, 0, 1).astype(np.float32)
    placement = placed((30, 40, 36), spacing_mm=spacing)
    drawing = draw(placement.to_network(likely)[:, None], placement, CHANNELS)
    found, wanted = np.argwhere(drawing.labels), np.argwhere(likely >= 0.5)
    np.testing.assert_allclose(found.mean(axis=0), wanted.mean(axis=0), atol=0.15)
    assert len(found) == pytest.approx(len(wanted), rel=0.12)


def test_every_slice_is_drawn_where_the_network_has_a_single_plane() -> None:
    placement = placed((6, 3, 3), spacing_mm=(6.0, 1.0, 1.0))
    assert placement.shape == (1, 3, 3)
    drawing = draw([np.full((1, 3, 3), 0.8, np.float32)], placement, CHANNELS)
    assert (drawing.labels == 1).all()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_is_refused(value: float) -> None:
    placement = placed((1, 2, 2))
    with pytest.raises(UnsuitableVolume, match="no numbers"):
        draw([np.full((1, 2, 2), value, np.float32)], placement, CHANNELS)
