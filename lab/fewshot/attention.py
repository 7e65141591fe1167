"""Which mask each labelled picture gets: its own, an automatic region, or for the control another picture's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy import bool_
from numpy.typing import NDArray
from PIL import Image

from lab.fewshot.cache import EmbeddingCache, vector_key
from lab.fewshot.embedding import Subjects
from lab.fewshot.regions import CELLS, REGION_VERSION, Saliency, salient_region
from workers.errors import MaskMissing
from workers.fewshot.contracts import Mask, MaskSource, Picture
from workers.fewshot.pictures import LabelledPicture
from workers.fewshot.visual_prompts import MaskedPicture


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


BoxSegmenter = Callable[[Picture], tuple[Mask, ...]]
"""Gives the segments of a picture, the one to look at first (SAM2)."""


def fair_source(pictures: Sequence[LabelledPicture]) -> MaskSource:
    """Choose given masks only where every picture has one: a missing mask would otherwise give the label away."""
    return MaskSource.GIVEN if all(picture.mask_path for picture in pictures) else MaskSource.REGION


@dataclass(slots=True)
class Attention:
    """Finds the mask of a picture. Saliency is loaded when the first region is asked for, and kept in the cache."""

    source: MaskSource
    cache: EmbeddingCache
    load_saliency: Callable[[], Saliency]
    segment: BoxSegmenter | None = None
    _saliency: Saliency | None = None

    def subjects(self, pictures: Sequence[LabelledPicture]) -> Subjects:
        """Return a reader for each picture with its own mask; a source of none searches for none."""
        return [partial(self._subject, picture) for picture in pictures]

    def wrong_subjects(self, pictures: Sequence[LabelledPicture], *, seed: int = 0) -> Subjects:
        """Return a reader for each picture with the mask of another one."""
        places = shuffled_places(len(pictures), seed=seed)
        return [partial(self._swapped, one, pictures[at]) for one, at in zip(pictures, places, strict=True)]

    def _subject(self, picture: LabelledPicture) -> MaskedPicture:
        pixels = picture.read()
        segments = self._segments(picture, pixels)
        return MaskedPicture(pixels, segments[0] if segments else None, segments[1:] and segments, picture.name)

    def _swapped(self, picture: LabelledPicture, other: LabelledPicture) -> MaskedPicture:
        own, wrong = self._subject(picture), self._subject(other)
        if wrong.mask is None:
            return own
        shape = own.picture.shape[0], own.picture.shape[1]
        segments = tuple(fitted_to(segment, shape) for segment in wrong.segments)
        return replace(own, mask=fitted_to(wrong.mask, shape), segments=segments)

    def _segments(self, picture: LabelledPicture, pixels: Picture) -> tuple[Mask, ...]:
        if self.source is MaskSource.NONE:
            return ()
        if self.source is MaskSource.GIVEN:
            given = picture.read_mask()
            if given is not None and given.any():
                return (given,)
        if self.source in {MaskSource.GIVEN, MaskSource.REGION}:
            return (self._region(pixels),)
        if self.segment is None:
            raise MaskMissing(f"{self.source.value} needs SAM2: name its folder with --sam2")
        return self.segment(pixels)

    def _region(self, pixels: Picture) -> Mask:
        key = vector_key(f"saliency:v{REGION_VERSION}", pixels, ())
        known = self.cache.get([key])[0]
        if known is None:
            self._saliency = self._saliency or self.load_saliency()
            known = self._saliency.maps([pixels])[0].ravel()
            self.cache.put([key], [known])
        shape = pixels.shape[0], pixels.shape[1]
        return salient_region(np.asarray(known).reshape(CELLS, CELLS), shape=shape)
