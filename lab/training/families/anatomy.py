"""What similar pictures of other patients score at the same place is anatomy: noses, jaws and necks take up contrast.

Heads are framed alike, so that pictures of one plane and level lie on each other. A component that its neighbours score
as well is no finding, and what nearly all of them score is free of tumour. No mask and no label is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from lab.training.slices import Mark
from workers.segmentation.mask import MaskRule, kept_components

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from storage.volumes import Vector
    from workers.segmentation.framing import FramedStack

    FloatArray = NDArray[np.float32]
    BoolArray = NDArray[np.bool_]

NEIGHBOURS = 12
OF_ONE_PATIENT = 2
"""Most pictures of one patient among the neighbours."""
SIDE = 24
"""Rows and columns of the small picture that pictures are compared by."""
SMOOTHING = 4.0
"""Deviation of the Gaussian, in pixels, that evens out how far the same place lies apart in two heads."""
COMMON = 0.1
"""Mean score of the neighbours from which on a component is no finding."""
USUAL = 0.2
"""Mean score of the neighbours from which on a place is free of tumour, unless something was found near by."""
REACH = 6.0
"""Pixels around what was found that are neither free nor found."""
DOUBT = 0.1
"""No pixel with a higher score is free, but where that is usual."""

DARK = 0.85
"""Grey, as a share of the body's median, below which tissue is dark."""
OFTEN_DARK = 0.4
"""Share of the neighbours, evened out, that are dark at a place where darkness is no sign."""


def usual_scores(images: FloatArray, scores: FloatArray, patients: Sequence[str]) -> FloatArray:
    """Return the mean score of the most similar pictures of other patients at each place; all are ``[n, y, x]``.

    Pictures are compared as they are and mirrored.
    """
    small = np.stack([_small(image) for image in images])
    turned = np.stack([_small(image[:, ::-1]) for image in images])
    likeness = np.concatenate([small @ small.T, small @ turned.T], axis=1)
    smooth = np.stack([ndimage.gaussian_filter(score, SMOOTHING) for score in scores])
    both = np.concatenate([smooth, smooth[:, :, ::-1]])
    whose = np.array([*patients, *patients])
    usual = np.zeros_like(smooth)
    for row, patient in enumerate(patients):
        if near := list(_nearest(likeness[row], whose, patient)):
            usual[row] = both[near].mean(axis=0)
    return usual


def darkness(stack: FramedStack) -> FloatArray:
    """Return 1 where the body is darker than most of it, as fluid, air and tumours that take up no contrast are."""
    grey = ndimage.gaussian_filter((stack.images + 1.0) / 2.0, (0.0, 1.0, 1.0))
    median = float(np.median(grey[stack.body])) if stack.body.any() else 1.0
    return np.asarray(stack.body & (grey < DARK * median), dtype=np.float32)


def unusually_dark(dark: FloatArray, usual: FloatArray) -> BoolArray:
    """Return where a picture is dark and similar ones of others are not: it may be a tumour without uptake."""
    return (dark > 0) & (usual < OFTEN_DARK)


def marks_of(
    score: FloatArray, usual: FloatArray, spacing_mm: Vector, rule: MaskRule, *, odd: BoolArray
) -> NDArray[np.uint8]:
    """Return the ``Mark`` of every pixel ``[y, x]`` by its score and by what is usual at its place.

    What is ``odd`` is not free.
    """
    labels = kept_components(score[None], spacing_mm, replace(rule, share=0.0))[0]
    numbers = [number for number in np.unique(labels[labels > 0]) if usual[labels == number].mean() < COMMON]
    weights = {number: float(score[labels == number].sum()) for number in numbers}
    heaviest = max(weights.values(), default=0.0)
    found = np.isin(labels, [number for number, weight in weights.items() if weight >= rule.share * heaviest])
    near = ndimage.distance_transform_edt(~found) <= REACH if found.any() else found
    doubtful = near | ((score > DOUBT) & (usual < USUAL)) | odd
    return np.where(found, Mark.FOUND, np.where(doubtful, Mark.UNSURE, Mark.FREE)).astype(np.uint8)


def _small(image: FloatArray) -> FloatArray:
    """Return a picture as a vector of unit length, without its mean."""
    soft = ndimage.gaussian_filter(image, 3.0)
    small = ndimage.zoom(soft, SIDE / len(image), order=1).ravel()
    centred = small - small.mean()
    return np.asarray(centred / max(1e-6, float(np.linalg.norm(centred))), dtype=np.float32)


def _nearest(likeness: FloatArray, whose: NDArray[np.str_], patient: str) -> Iterator[int]:
    taken: dict[str, int] = {patient: OF_ONE_PATIENT}
    left = NEIGHBOURS
    for row in np.argsort(-likeness):
        other = str(whose[row])
        if taken.get(other, 0) < OF_ONE_PATIENT and left:
            taken[other] = taken.get(other, 0) + 1
            left -= 1
            yield int(row)
