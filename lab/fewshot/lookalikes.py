"""Pictures that are the same, or look the same, on two sides of a split: a score would then be memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy import float32
from numpy.typing import NDArray
from PIL import Image

from workers.errors import DuplicateAcrossSplits, PatientInTwoSplits
from workers.fewshot.pictures import LabelledPicture

SIDE = 24
ALIKE = 0.99
"""Correlation of two thumbnails from which on two pictures count as one; different patients stayed below 0.985."""

_ROWS = 1024


@dataclass(frozen=True, slots=True, eq=False)
class Fingerprints:
    """What pictures are compared by; rows in the order of the pictures."""

    digests: tuple[str, ...]
    thumbnails: NDArray[float32]
    """float32 ``[n, SIDE * SIDE]``, each with mean 0 and length 1."""

    @classmethod
    def of(cls, pictures: Sequence[LabelledPicture]) -> Fingerprints:
        """Read every picture once."""
        return cls(tuple(one.digest() for one in pictures), np.stack([_thumbnail(one) for one in pictures]))


def require_apart(training: Sequence[LabelledPicture], test: Sequence[LabelledPicture]) -> None:
    """Raise PatientInTwoSplits or DuplicateAcrossSplits that names the first item found on both sides."""
    ours = {one.patient: one.name for one in training if one.patient}
    for one in test:
        if one.patient in ours:
            raise PatientInTwoSplits(f"{one.name} and {ours[one.patient]} are of one patient: keep them on one side")
    for here, there, why in duplicates(Fingerprints.of(training), Fingerprints.of(test)):
        raise DuplicateAcrossSplits(f"{test[there].name} {why} {training[here].name}: keep them on one side")


def duplicates(first: Fingerprints, second: Fingerprints) -> Iterator[tuple[int, int, str]]:
    """Yield places in both that hold the same picture, with how they were found: the same pixels first."""
    known = {digest: place for place, digest in enumerate(first.digests)}
    same = [(known[digest], place) for place, digest in enumerate(second.digests) if digest in known]
    for here, there in same:
        yield here, there, "has the same pixels as"
    for start in range(0, len(first.thumbnails), _ROWS):
        close = first.thumbnails[start : start + _ROWS] @ second.thumbnails.T > ALIKE
        for here, there in np.argwhere(close):
            yield start + int(here), int(there), "looks the same as"


def joined_groups(pictures: Sequence[LabelledPicture]) -> list[str]:
    """Return each picture's group, with groups that share a picture or a look-alike made one."""
    prints = Fingerprints.of(pictures)
    leader = {one.group: one.group for one in pictures}

    def find(group: str) -> str:
        while leader[group] != group:
            group = leader[group]
        return group

    for here, there, _ in duplicates(prints, prints):
        first, second = sorted((find(pictures[here].group), find(pictures[there].group)))
        leader[second] = first
    return [find(one.group) for one in pictures]


def _thumbnail(picture: LabelledPicture) -> NDArray[float32]:
    small = Image.fromarray(picture.read()).convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
    values = np.asarray(small, dtype=float32).ravel()
    values = values - values.mean()
    return np.asarray(values / max(float(np.linalg.norm(values)), 1e-6), dtype=float32)
