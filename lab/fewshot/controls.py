"""The wrong-mask control: every picture gets the mask of another one. A gain that stays was never the mask's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy import bool_
from numpy.typing import NDArray
from PIL import Image

from workers.fewshot.contracts import Mask


def shuffled_places(count: int, *, seed: int) -> list[int]:
    """Return the place of another mask for each of ``count``: a cycle through a random order, none keeps its own."""
    order = np.random.default_rng([seed, 4]).permutation(count)
    places = np.empty(count, dtype=int)
    places[order] = np.roll(order, 1)
    return [int(place) for place in places]


def fitted_to(mask: Mask, shape: tuple[int, int]) -> NDArray[bool_]:
    """Stretch a mask onto a picture of another size; at least its middle pixel stays."""
    plane = Image.fromarray(mask.astype(np.uint8)).resize((shape[1], shape[0]), Image.Resampling.NEAREST)
    fitted = np.asarray(plane) > 0
    if not fitted.any():
        rows, columns = (axis.mean() / length for axis, length in zip(np.nonzero(mask), mask.shape, strict=True))
        fitted = np.zeros(shape, dtype=bool)
        fitted[int(rows * shape[0]), int(columns * shape[1])] = True
    return fitted


def shuffled(masks: Sequence[Mask], shapes: Sequence[tuple[int, int]], *, seed: int) -> list[Mask]:
    """Give every picture, of the sizes in ``shapes``, another one's mask."""
    places = shuffled_places(len(masks), seed=seed)
    return [fitted_to(masks[place], shape) for place, shape in zip(places, shapes, strict=True)]
