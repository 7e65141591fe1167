"""From pictures with masks to one vector each: apply a prompt, ask the backbone, put the parts together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy import float32

from workers.errors import MaskMissing, UnreadablePicture
from workers.fewshot.backbones.preprocessing import cell_weights
from workers.fewshot.contracts import MASKLESS, Backbone, Embeddings, Mask, Picture, PromptMode, Vectors
from workers.fewshot.visual_prompts import drawing
from workers.fewshot.visual_prompts.cutting import crop, middle

BATCH = 64


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """A picture and where to look in it; ``segments`` are further masks that only the overlay shows."""

    picture: Picture
    mask: Mask | None = None
    segments: tuple[Mask, ...] = ()
    name: str = ""
    """What an error calls it; never a patient."""


def embed_prompted(backbone: Backbone, subjects: Sequence[Subject], mode: PromptMode) -> Vectors:
    """Return one vector ``[n, d]`` for each subject under a prompt.

    ``maskpool`` gives the mask-weighted mean of the grid, ``global+crop`` the whole picture's unit vector beside the
    cut's, ``three-looks`` the unit vectors of ``LOOKS``, side by side. MaskMissing names the subject without
    the mask that the mode needs.
    """
    parts = [_embed_batch(backbone, subjects[start : start + BATCH], mode) for start in range(0, len(subjects), BATCH)]
    return np.concatenate(parts)


def draw(subject: Subject, mode: PromptMode) -> Picture:
    """Return the picture that the backbone sees under a prompt; for ``global+crop`` the cut."""
    if mode in MASKLESS or mode is PromptMode.MASKPOOL:
        return subject.picture
    mask = required_mask(subject)
    if mode is PromptMode.OVERLAY:
        return drawing.overlay(subject.picture, subject.segments or (mask,))
    if mode in {PromptMode.CROP, PromptMode.GLOBAL_CROP}:
        return crop(subject.picture, mask)[0]
    drawn = {PromptMode.CONTOUR: drawing.contour, PromptMode.BLUR: drawing.blur, PromptMode.DIM: drawing.dim}
    return drawn[mode](subject.picture, mask)


def required_mask(subject: Subject) -> Mask:
    """Return the subject's mask; MaskMissing where there is none, UnreadablePicture where it does not fit."""
    if subject.mask is None or not subject.mask.any():
        raise MaskMissing(f"{subject.name or 'the picture'} has no mask: give one, or use prompt none")
    if subject.mask.shape != subject.picture.shape[:2]:
        sizes = f"mask {subject.mask.shape}, picture {subject.picture.shape[:2]}"
        raise UnreadablePicture(f"{subject.name or 'the picture'}: the sizes differ, {sizes}")
    return subject.mask


def _embed_batch(backbone: Backbone, subjects: Sequence[Subject], mode: PromptMode) -> Vectors:
    if mode is PromptMode.THREE_LOOKS:
        return side_by_side([backbone.embed([look(one.picture) for one in subjects]).pooled for look in LOOKS])
    seen = backbone.embed([draw(subject, mode) for subject in subjects])
    if mode is PromptMode.MASKPOOL:
        return _pooled_under(backbone, seen, subjects)
    if mode is not PromptMode.GLOBAL_CROP:
        return seen.pooled
    whole = backbone.embed([subject.picture for subject in subjects])
    return side_by_side([whole.pooled, seen.pooled])


def _pooled_under(backbone: Backbone, seen: Embeddings, subjects: Sequence[Subject]) -> Vectors:
    look, cells = backbone.card.preprocessing, (seen.grid.shape[1], seen.grid.shape[2])
    weights = np.stack([cell_weights(required_mask(subject), look, cells=cells) for subject in subjects])
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
