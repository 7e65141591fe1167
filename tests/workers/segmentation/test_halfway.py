"""Edges halfway between a component's peak and its surroundings."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from workers.segmentation.halfway import halfway

SPACING = (4.0, 4.0, 4.0)
Z, Y, X = np.indices((20, 40, 40))
BODY = (Y - 20) ** 2 + (X - 20) ** 2 < 300


def ball(radius: float) -> np.ndarray:
    """Return a ball in the middle, bool."""
    return np.asarray(np.linalg.norm((Z - 10, Y - 20, X - 20), axis=0) < radius)


BALL = ball(6)


def uptake(peak: float) -> np.ndarray:
    """Return the grey of a ball in a body, as blurred as a scanner blurs it."""
    sharp = np.where(BALL, peak, np.where(BODY, 0.2, 0.0))
    return np.asarray(ndimage.gaussian_filter(sharp, 1.0), dtype=np.float32)


@pytest.mark.parametrize("peak", [0.4, 0.9])
@pytest.mark.parametrize("radius", [4, 8])
def test_faint_and_strong_uptake_gets_its_edge_from_a_mask_too_small_or_too_large(peak: float, radius: int) -> None:
    labels = ball(radius).astype(np.int32)
    found = halfway(labels, uptake(peak), BODY, spacing_mm=SPACING, reach_mm=12.0)
    assert 2 * (found & BALL).sum() / (found.sum() + BALL.sum()) > 0.93


def test_a_cold_core_stays_in_the_mask_and_uptake_elsewhere_out_of_it() -> None:
    grey = uptake(0.9)
    grey[8:13, 18:23, 18:23] = 0.1
    grey[10, 33:36, 20:22] = 0.9
    found = halfway(BALL.astype(np.int32), grey, BODY, spacing_mm=SPACING, reach_mm=12.0)
    assert found[10, 20, 20]
    assert not found[:, 32:].any()


def test_no_edge_moves_further_out_than_its_reach() -> None:
    small = ball(2)
    found = halfway(small.astype(np.int32), uptake(0.9), BODY, spacing_mm=SPACING, reach_mm=4.0)
    assert not found[ndimage.distance_transform_edt(~small) > 1.0].any()


def test_a_component_that_takes_up_no_more_than_its_surroundings_stays_as_it_is() -> None:
    found = halfway(BALL.astype(np.int32), uptake(0.1), BODY, spacing_mm=SPACING, reach_mm=12.0)
    assert np.array_equal(found, BALL)


def test_a_component_without_surroundings_stays_as_it_is() -> None:
    found = halfway(BALL.astype(np.int32), uptake(0.9), BALL, spacing_mm=SPACING, reach_mm=12.0)
    assert np.array_equal(found, BALL)
