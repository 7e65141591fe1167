"""Number the connected components of masks by falling size. Arrays are ``[z, y, x]``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy import bool_, int32, uint8
from numpy.typing import NDArray
from scipy import ndimage

MOST_LESIONS = 20
TOUCHING = np.ones((3, 3, 3), dtype=bool)
"""Voxels that touch by a face, edge or corner belong together."""


@dataclass(frozen=True, slots=True, eq=False)
class NumberedComponents:
    """Numbers uint8 ``[z, y, x]`` (0 is background), the mask that each number from 1 is of, and how many there are."""

    labels: NDArray[uint8]
    kinds: tuple[int, ...]
    """For each number, from 1, the place of its mask among those given."""
    count: int


def number_components(mask: NDArray[bool_], *, most: int = MOST_LESIONS) -> tuple[NDArray[uint8], int]:
    """Number the components of a mask by falling size; those after ``most`` share its number. Return their count."""
    numbered = number_kinds((mask,), most=most)
    return numbered.labels, numbered.count


def number_kinds(masks: Sequence[NDArray[bool_]], *, most: int = MOST_LESIONS) -> NumberedComponents:
    """Number the components of several masks, which do not overlap, by falling size over all.

    Where there are more than ``most``, the smallest ones of each mask share one number, so that no number stands for
    two masks and no voxel is lost. ``most`` is at least the number of masks, and at most 255.
    """
    labels = np.zeros(masks[0].shape, dtype=uint8)
    inside = bounding_box(np.logical_or.reduce(masks))
    if inside is None:
        return NumberedComponents(labels, (), 0)
    # Within the box of what was drawn: the numbers of components take four bytes a voxel.
    found = _number_inside([mask[inside] for mask in masks], most)
    labels[inside] = found.labels
    return NumberedComponents(labels, found.kinds, found.count)


def bounding_box(mask: NDArray[bool_]) -> tuple[slice, ...] | None:
    """Return the smallest box ``[z, y, x]`` that holds a mask, or None where it is empty."""
    slices = [np.flatnonzero(mask.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
    if not all(len(found) for found in slices):
        return None
    return tuple(slice(int(found[0]), int(found[-1]) + 1) for found in slices)


def _number_inside(masks: Sequence[NDArray[bool_]], most: int) -> NumberedComponents:
    components = np.zeros(masks[0].shape, dtype=int32)
    kinds: list[int] = []
    own = np.zeros_like(components)
    for kind, mask in enumerate(masks):
        count = int(ndimage.label(mask, structure=TOUCHING, output=own))
        components[mask] = own[mask] + len(kinds)
        kinds += [kind] * count
    # Only what was drawn is counted: counting turns each voxel into eight bytes.
    sizes = np.bincount(components[components > 0], minlength=len(kinds) + 1)[1:]
    # A stable sort keeps equal sizes in scan order, so the same masks always get the same numbers.
    order = np.argsort(-sizes, kind="stable")
    by_size = [kinds[place] for place in order]
    shared = _shared_numbers(by_size, most)
    numbers = np.zeros(len(kinds) + 1, dtype=uint8)
    numbers[order + 1] = shared
    named = dict(zip(shared, by_size, strict=True))
    return NumberedComponents(numbers[components], tuple(named[number] for number in sorted(named)), len(kinds))


def _shared_numbers(kinds: Sequence[int], most: int) -> list[int]:
    """Return a number for each component, the largest first: its own, or beyond ``most`` that of its kind's rest."""
    if len(kinds) <= most:
        return list(range(1, len(kinds) + 1))
    alone = most - len(set(kinds))
    rest: dict[int, int] = {}
    return [*range(1, alone + 1), *(rest.setdefault(kind, alone + 1 + len(rest)) for kind in kinds[alone:])]
