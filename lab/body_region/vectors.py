"""The vectors of every case, as stored and altered: embedded once, and kept in one file of the work folder."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy import float32
from numpy.typing import NDArray

from lab.body_region.augmentation import altered
from lab.body_region.cases import RegionCase
from lab.patients import Role
from storage.progress import OnProgress, unheard
from workers.fewshot.contracts import Backbone, Picture
from workers.guard.pictures import pictures_of, spread_slices, window_of
from workers.guard.region_guard import embedded

_ALTERED = {"sarcoma-ct-pet-mr": 10, "ct-chest-100-slices": 60, "phantom": 5, "brain-mri-lgg": 5}
"""Altered pictures of one case, by its folder: few patients are shown in more ways. One of every other case."""
_SLICES = 40
"""Slices that altered pictures are drawn from, at most."""


@dataclass(frozen=True, slots=True, eq=False)
class CaseVectors:
    """What the encoder sees of one case: ``plain`` ``[n, d]`` as the guard looks at it, ``altered`` ``[m, d]``."""

    case: RegionCase
    plain: NDArray[float32]
    altered: NDArray[float32]


def of_roles(seen: Sequence[CaseVectors], *roles: Role) -> list[CaseVectors]:
    """Keep the cases of patients with one of these roles."""
    return [one for one in seen if one.case.role in roles]


def embed_cases(
    cases: Sequence[RegionCase], backbone: Backbone, work: Path, *, on_progress: OnProgress = unheard
) -> list[CaseVectors]:
    """Embed every case that ``work`` does not hold yet, and return them all in their order."""
    work.mkdir(parents=True, exist_ok=True)
    found = []
    for number, case in enumerate(cases):
        found.append(_embed(case, number, backbone, work))
        on_progress(number + 1, len(cases))
    return found


def _embed(case: RegionCase, number: int, backbone: Backbone, work: Path) -> CaseVectors:
    place = work / f"{_key(case, number, backbone)}.npz"
    if place.is_file():
        with np.load(place) as arrays:
            return CaseVectors(case, arrays["plain"].astype(float32), arrays["altered"].astype(float32))
    plain, changed = pictures_of(case.volume()), _altered_pictures(case, seed=number)
    vectors = embedded(backbone, [*plain, *changed])
    seen = CaseVectors(case, vectors[: len(plain)], vectors[len(plain) :])
    np.savez(place, plain=seen.plain.astype(np.float16), altered=seen.altered.astype(np.float16))
    return seen


def _key(case: RegionCase, number: int, backbone: Backbone) -> str:
    return hashlib.sha256(
        f"{number} {case.source} {case.patient} {case.kind} {backbone.card.key}".encode()
    ).hexdigest()[:24]


def _altered_pictures(case: RegionCase, *, seed: int) -> list[Picture]:
    rng = np.random.default_rng(seed)
    voxels = case.read()
    window = window_of(voxels, case.modality)
    slices = spread_slices(len(voxels), most=_SLICES)
    chosen = rng.choice(slices, _ALTERED.get(case.source, 1))
    return [altered(voxels[z], window, rng) for z in chosen]
