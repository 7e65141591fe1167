"""Where the evidence for a class lies, for vectors that put unit vectors of several layers side by side."""

from __future__ import annotations

import numpy as np
from numpy import float32
from numpy.typing import NDArray

from workers.fewshot.classifier import FittedAdapter, Labelled, fit_adapter
from workers.fewshot.heads import HeadName, make_head
from workers.fewshot.lesion_views import LesionView, Placement
from workers.fewshot.saliency import part_activation, pooled_part, saliency_of

CHANNELS = 6
STRIPED, PLAIN = np.eye(CHANNELS, dtype=float32)[:2]


def _vector(first: NDArray[np.floating], mean: NDArray[np.floating]) -> NDArray[float32]:
    return np.concatenate([first / np.linalg.norm(first), mean / np.linalg.norm(mean)]).astype(float32)


def _adapter() -> FittedAdapter:
    rng = np.random.default_rng(0)
    rows = [
        _vector(rng.normal(size=CHANNELS), (STRIPED, PLAIN)[n % 2] + rng.normal(0, 0.1, CHANNELS)) for n in range(20)
    ]
    labels, patients = tuple(("striped", "plain")[n % 2] for n in range(20)), tuple(f"p{n}" for n in range(20))
    support = Labelled(np.stack(rows), labels, patients, np.full(20, np.nan))
    return fit_adapter(make_head(HeadName.LOGISTIC), support, support, alpha=0.1, seed=0)


def _view() -> LesionView:
    """Return an image whose upper left cell is striped and whose other three are plain."""
    grid = np.tile(PLAIN, (1, 2, 2, 1)).astype(float32)
    grid[0, 0, 0] = STRIPED
    vector = _vector(np.ones(CHANNELS, float32), grid.mean(axis=(0, 1, 2)))
    return LesionView(vector, 1.0, (0,), (Placement(0, 0, 8, 8),), grid)


def test_the_cell_that_speaks_for_a_class_is_the_one_that_lights_up() -> None:
    view, adapter = _view(), _adapter()
    part = pooled_part(view)
    assert part == slice(CHANNELS, 2 * CHANNELS)
    for label, row, column in (("striped", 1, 1), ("plain", 6, 6)):
        values = saliency_of(view, part_activation(adapter, view, part, label), shape=(8, 8)).values[0]
        assert values[row, column] == 1.0
        assert values[7 - row, 7 - column] < 0.1


def test_a_vector_without_a_mean_of_its_grid_has_no_such_part() -> None:
    view = _view()
    turned = LesionView(np.roll(view.vector, 1), 1.0, view.slices, view.placements, view.grids)
    assert pooled_part(turned) is None
