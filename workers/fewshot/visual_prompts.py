"""Visual prompts: how a mask tells a frozen backbone where to look; deterministic, `PROMPT_VERSION` in every key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy import float32, uint8
from numpy.typing import NDArray
from scipy import ndimage

from workers.errors import MaskMissing, UnreadablePicture
from workers.fewshot.contracts import MASKLESS, Backbone, Embeddings, Mask, Picture, PromptMode, Vectors
from workers.fewshot.preprocessing import cell_weights

MARGIN = 1.5
"""Side of the cut as a multiple of the longer side of the mask."""
LEAST_SHARE = 0.1
"""A cut is never smaller than this share of the shorter side: below it there are only a few pixels to look at."""
MIDDLE_SIDE = 0.6
"""Sides of the middle as shares of the picture's."""
PALETTE = ((20, 170, 245), (245, 170, 20), (60, 200, 90), (220, 70, 170), (250, 230, 60), (150, 110, 240))
"""RGB for segments by their rank in area, smallest first. MedFocusCLIP draws random colours; ours must not change."""
BACKGROUND = (108, 37, 80)
OPACITY = 0.5
DIMMED = 0.1
_CONTOUR = (255, 0, 0)
_SOFT = 0.01
_BLUR = 0.03
"""Both as a share of the longer side, so that a prompt looks the same at any resolution."""
BATCH = 64


@dataclass(frozen=True, slots=True, eq=False)
class MaskedPicture:
    """A picture and where to look in it; ``segments`` are further masks that only the overlay shows."""

    picture: Picture
    mask: Mask | None = None
    segments: tuple[Mask, ...] = ()
    name: str = ""
    """What an error calls it; never a patient."""


def embed_prompted(backbone: Backbone, subjects: Sequence[MaskedPicture], mode: PromptMode) -> Vectors:
    """Return one vector ``[n, d]`` for each subject under a prompt.

    ``maskpool`` gives the mask-weighted mean of the grid, ``global+crop`` the whole picture's unit vector beside the
    cut's, ``three-looks`` the unit vectors of ``LOOKS``, side by side. MaskMissing names the subject without
    the mask that the mode needs.
    """
    parts = [_embed_batch(backbone, subjects[start : start + BATCH], mode) for start in range(0, len(subjects), BATCH)]
    return np.concatenate(parts)


def draw(subject: MaskedPicture, mode: PromptMode) -> Picture:
    """Return the picture that the backbone sees under a prompt; for ``global+crop`` the cut."""
    if mode in MASKLESS or mode is PromptMode.MASKPOOL:
        return subject.picture
    mask = required_mask(subject)
    if mode is PromptMode.OVERLAY:
        return overlay(subject.picture, subject.segments or (mask,))
    if mode in {PromptMode.CROP, PromptMode.GLOBAL_CROP}:
        return crop(subject.picture, mask)[0]
    drawn = {PromptMode.CONTOUR: contour, PromptMode.BLUR: blur, PromptMode.DIM: dim}
    return drawn[mode](subject.picture, mask)


def crop(picture: Picture, mask: Mask) -> tuple[Picture, Mask]:
    """Cut a square around the mask out of picture and mask.

    The square is moved back into the picture where it sticks out, and is smaller than planned only where the picture
    is: the surroundings are real tissue, never black.
    """
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    extent = max(int(rows[-1] - rows[0]), int(columns[-1] - columns[0])) + 1
    side = max(round(MARGIN * extent), round(LEAST_SHARE * min(mask.shape)), 1)
    where = tuple(
        _span((int(axis[0]) + int(axis[-1]) + 1) / 2, side, length)
        for axis, length in zip((rows, columns), mask.shape, strict=True)
    )
    return picture[where], mask[where]


def middle(picture: Picture) -> Picture:
    """Cut the middle out of a picture, in the picture's own proportions."""
    rows, columns = (_span(length / 2, max(1, round(MIDDLE_SIDE * length)), length) for length in picture.shape[:2])
    return np.ascontiguousarray(picture[rows, columns])


def _span(centre: float, side: int, length: int) -> slice:
    side = min(side, length)
    start = min(max(round(centre - side / 2), 0), length - side)
    return slice(start, start + side)


def overlay(picture: Picture, segments: Sequence[Mask]) -> Picture:
    """Tint every segment at half opacity and the rest in the background colour (MedFocusCLIP, figure 1).

    Segments are painted largest first, so that a small one stays visible on a large one.
    """
    ordered = sorted(segments, key=lambda segment: int(np.count_nonzero(segment)))
    colours = np.empty(picture.shape, dtype=float32)
    colours[...] = BACKGROUND
    for rank in range(len(ordered) - 1, -1, -1):
        colours[ordered[rank]] = PALETTE[rank % len(PALETTE)]
    return _rounded((1 - OPACITY) * picture + OPACITY * colours)


def contour(picture: Picture, mask: Mask) -> Picture:
    """Draw the outline of the mask in red, about one hundredth of the picture wide."""
    width = max(1, round(0.5 * _SOFT * max(mask.shape)))
    around = ndimage.binary_dilation(mask, iterations=width) & ~ndimage.binary_erosion(mask, iterations=width)
    drawn = picture.copy()
    drawn[around] = _CONTOUR
    return drawn


def blur(picture: Picture, mask: Mask) -> Picture:
    """Blur everything outside the mask."""
    sigma = _BLUR * max(mask.shape)
    outside = ndimage.gaussian_filter(picture.astype(float32), (sigma, sigma, 0))
    return _blended(picture, outside, mask)


def dim(picture: Picture, mask: Mask) -> Picture:
    """Darken everything outside the mask to a tenth."""
    return _blended(picture, DIMMED * picture.astype(float32), mask)


def _blended(inside: Picture, outside: NDArray[float32], mask: Mask) -> Picture:
    soft = ndimage.gaussian_filter(mask.astype(float32), _SOFT * max(mask.shape))
    weight = np.maximum(soft, mask)[..., None]
    return _rounded(weight * inside + (1 - weight) * outside)


def _rounded(values: NDArray[np.floating]) -> Picture:
    return np.asarray(np.clip(np.rint(values), 0, 255), dtype=uint8)


def required_mask(subject: MaskedPicture) -> Mask:
    """Return the subject's mask; MaskMissing where there is none, UnreadablePicture where it does not fit."""
    if subject.mask is None or not subject.mask.any():
        raise MaskMissing(f"{subject.name or 'the picture'} has no mask: give one, or use prompt none")
    if subject.mask.shape != subject.picture.shape[:2]:
        sizes = f"mask {subject.mask.shape}, picture {subject.picture.shape[:2]}"
        raise UnreadablePicture(f"{subject.name or 'the picture'}: the sizes differ, {sizes}")
    return subject.mask


def _embed_batch(backbone: Backbone, subjects: Sequence[MaskedPicture], mode: PromptMode) -> Vectors:
    if mode is PromptMode.THREE_LOOKS:
        return side_by_side([backbone.embed([look(one.picture) for one in subjects]).pooled for look in LOOKS])
    seen = backbone.embed([draw(subject, mode) for subject in subjects])
    if mode is PromptMode.MASKPOOL:
        return _pooled_under(backbone, seen, subjects)
    if mode is not PromptMode.GLOBAL_CROP:
        return seen.pooled
    whole = backbone.embed([subject.picture for subject in subjects])
    return side_by_side([whole.pooled, seen.pooled])


def _pooled_under(backbone: Backbone, seen: Embeddings, subjects: Sequence[MaskedPicture]) -> Vectors:
    cells, preprocessing = (seen.grid.shape[1], seen.grid.shape[2]), backbone.card.preprocessing
    weights = np.stack([cell_weights(required_mask(subject), preprocessing, cells=cells) for subject in subjects])
    total = np.maximum(weights.sum(axis=(1, 2)), 1e-6)[:, None]
    return np.asarray(np.einsum("nhw,nhwc->nc", weights, seen.grid) / total, dtype=float32)


def whole(picture: Picture) -> Picture:
    """Leave a picture as it is."""
    return picture


def mirrored(picture: Picture) -> Picture:
    """Exchange left and right of a picture."""
    return np.ascontiguousarray(picture[:, ::-1])


LOOKS = (whole, mirrored, middle)
"""What ``three-looks`` makes of a picture."""


def side_by_side(parts: Sequence[Vectors]) -> Vectors:
    """Put the unit vectors of several looks at the same pictures into one row for each picture."""
    return np.concatenate([unit(vectors) for vectors in parts], axis=1)


def unit(vectors: Vectors) -> Vectors:
    """Scale each row to length 1; a row of zeros stays."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), dtype=float32)
