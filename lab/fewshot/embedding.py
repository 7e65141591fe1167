"""The vectors of labelled pictures under a prompt, computed once and kept on disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from lab.fewshot.cache import EmbeddingCache, vector_key
from storage.progress import OnProgress, unheard
from workers.fewshot.contracts import Picture, PromptMode, Vectors, embedding_key, require_finite
from workers.fewshot.frozen_backbone import TorchBackbone
from workers.fewshot.visual_prompts import LOOKS, MaskedPicture, embed_prompted, side_by_side

BATCH = 32

Subjects = Sequence[Callable[[], MaskedPicture]]
"""Each reads its picture and mask when it is called: a whole data set does not fit into memory."""


@dataclass(frozen=True, slots=True)
class Embedder:
    """A backbone with the cache that remembers what it said."""

    backbone: TorchBackbone
    cache: EmbeddingCache
    on_progress: OnProgress = unheard

    def embed(self, subjects: Subjects, mode: PromptMode) -> Vectors:
        """Return ``[n, d]``; what is put together from other modes' vectors is never computed twice."""
        if mode is PromptMode.GLOBAL_CROP:
            return side_by_side([self.embed(subjects, part) for part in (PromptMode.NONE, PromptMode.CROP)])
        if mode is PromptMode.THREE_LOOKS:
            return side_by_side([self.embed(_seen(subjects, look), PromptMode.NONE) for look in LOOKS])
        parts = []
        for start in range(0, len(subjects), BATCH):
            parts.append(self._embed_batch([read() for read in subjects[start : start + BATCH]], mode))
            self.on_progress(min(start + BATCH, len(subjects)), len(subjects))
        return np.concatenate(parts)

    def _embed_batch(self, subjects: Sequence[MaskedPicture], mode: PromptMode) -> Vectors:
        space = f"{embedding_key(self.backbone.card, mode)}:{self.backbone.dtype}"
        keys = [self._key(space, subject, mode) for subject in subjects]
        found = self.cache.get(keys)
        missing = [place for place, vector in enumerate(found) if vector is None]
        if missing:
            fresh = embed_prompted(self.backbone, [subjects[place] for place in missing], mode)
            self.cache.put([keys[place] for place in missing], list(fresh))
            found = self._filled(found, missing, fresh)
        vectors = np.stack([vector for vector in found if vector is not None])
        require_finite(vectors, what="picture")
        return vectors

    @staticmethod
    def _key(space: str, subject: MaskedPicture, mode: PromptMode) -> str:
        if mode is PromptMode.NONE:
            return vector_key(space, subject.picture, ())
        masks = [mask for mask in (subject.mask, *subject.segments) if mask is not None]
        return vector_key(space, subject.picture, masks)

    @staticmethod
    def _filled(found: list[Vectors | None], missing: Sequence[int], fresh: Vectors) -> list[Vectors | None]:
        filled = list(found)
        for row, place in enumerate(missing):
            filled[place] = fresh[row]
        return filled


def _seen(subjects: Subjects, look: Callable[[Picture], Picture]) -> Subjects:
    """Make subjects of one of the looks at each picture; masks are left behind."""

    def only(read: Callable[[], MaskedPicture]) -> MaskedPicture:
        subject = read()
        return MaskedPicture(look(subject.picture), name=subject.name)

    return [partial(only, read) for read in subjects]
