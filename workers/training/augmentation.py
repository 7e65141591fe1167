"""What scanners and positioning do to a slice: drawn anew for every sample."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from workers.training.lesions import FieldBank

    FloatArray = NDArray[np.float32]


def move(image: FloatArray, head: NDArray[np.bool_], rng: np.random.Generator) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Mirror, turn, scale and shift one slice ``[y, x]`` together with its head."""
    angle, scale = rng.normal(0.0, 0.12), np.exp(rng.uniform(-0.14, 0.14))
    cosine, sine = np.cos(angle) * scale, np.sin(angle) * scale
    matrix = np.array([[cosine, -sine], [sine, cosine * np.exp(rng.uniform(-0.06, 0.06))]])
    matrix[:, 1] *= rng.choice((-1.0, 1.0))
    middle = (np.array(image.shape) - 1) / 2
    offset = middle - matrix @ middle + rng.uniform(-5, 5, 2)
    moved = ndimage.affine_transform(image, matrix, offset, order=1, cval=-1.0)
    moved_head = ndimage.affine_transform(head.astype(np.float32), matrix, offset, order=1) > 0.5  # noqa: PLR2004 - nearest
    return np.asarray(moved, dtype=np.float32), np.asarray(moved_head, dtype=bool)


def rescan(image: FloatArray, bank: FieldBank, rng: np.random.Generator) -> FloatArray:
    """Change gain, contrast curve, coil shading, sharpness and noise of one slice in -1..1."""
    grey = np.clip((image + 1.0) / 2.0, 0.0, 1.0)
    grey = grey ** np.exp(rng.uniform(-0.25, 0.25)) * np.exp(rng.uniform(-0.22, 0.22))
    grey = grey * (1.0 + rng.uniform(0.0, 0.12) * bank.draw(rng, 16.0))
    if rng.random() < 0.3:  # noqa: PLR2004 - share of blurred slices
        grey = ndimage.gaussian_filter(grey, rng.uniform(0.3, 1.0))
    grey = grey + rng.uniform(0.0, 0.025) * rng.standard_normal(grey.shape)
    return np.asarray(np.clip(grey, 0.0, 1.0) * 2.0 - 1.0, dtype=np.float32)
