"""What a family's network is trained on: framed slices without tumour, cut or padded to the family's patch."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial, reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lab.cases import ArrayFile, LabelledCase
from lab.patients import role
from lab.segmentation.tables import read_table
from lab.training import slices
from lab.training.families import chest, sonography, uptake_phantoms
from lab.training.families.folds import KEPT_IN, UNFOLDED, Fold
from lab.training.slices import SliceSet
from workers.errors import TrainingDataMissing
from workers.segmentation.families import Family
from workers.segmentation.framing import body_masks, frame

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lab.cases import CaseSource
    from lab.patients import Role

    FloatArray = NDArray[np.float32]

DESCRIPTION = Path(__file__).with_name("families.toml")
PHANTOMS: Mapping[str, int] = {"uptake-phantoms": 240, "sonography-phantoms": 480}
PHANTOM_LAYOUTS: Mapping[str, Callable[[int, int], FloatArray]] = {
    "uptake-phantoms": uptake_phantoms.draw,
    "sonography-phantoms": sonography.draw,
}


@dataclass(frozen=True, slots=True)
class Source:
    """One entry of ``families.toml``."""

    family: str
    layout: str
    share: float
    folder: str = ""
    suffix: str = ""
    unlabelled: bool = False
    """Whether it holds tumours that nobody has marked: it is trained on once an earlier round has marked them."""

    def cases(self, data: Path, wanted: frozenset[Role], modality: str) -> Iterator[CaseSource]:
        """List the cases of patients with one of the roles."""
        folder = data / self.folder
        found: list[CaseSource] = []
        if self.layout == "images":
            found = list(read_table(folder, where=(), modality=modality, masked=False))
        elif self.layout == "arrays":
            found = [ArrayFile(path, modality) for path in sorted(folder.glob(f"*__{self.suffix}.npz"))]
        return (case for case in found if role(case.patient) in wanted)


def listed(family: Family, *, unlabelled: bool = False) -> list[Source]:
    """Return what the description lists for a family: without tumour, or ``unlabelled``."""
    entries = tomllib.loads(DESCRIPTION.read_text(encoding="utf-8"))["source"]
    found = (Source(**entry) for entry in entries)
    return [source for source in found if source.family == family.name and source.unlabelled is unlabelled]


def sources(family: Family, *, unlabelled: bool = False) -> list[Source]:
    """Return what ``listed`` does; raises TrainingDataMissing where that is nothing."""
    found = listed(family, unlabelled=unlabelled)
    if not found:
        raise TrainingDataMissing(f"{DESCRIPTION.name} has no source for {family.name}")
    return found


def load(family: Family, data: Path, fold: Fold = UNFOLDED) -> SliceSet:
    """Return the tumour-free slices that a network is trained on; raises TrainingDataMissing without any."""
    sets = []
    for source in sources(family):
        found = list(_loaded(source, family, data, fold))
        if not found:
            raise TrainingDataMissing(f"no slice without tumour for {family.name} under {source.folder or 'phantoms'}")
        joined = reduce(SliceSet.joined, found)
        sets.append(replace(joined, weights=joined.weights / joined.weights.sum() * source.share))
    return reduce(SliceSet.joined, sets)


def patients_of(family: Family, data: Path, fold: Fold | None = None) -> set[str]:
    """Return the patients with slices that a fold's network, default anyone's, is trained on in its first round."""
    cases = (case for source in sources(family) for case in source.cases(data, KEPT_IN, min(family.modalities)))
    return {case.patient for case in cases if fold is None or fold.shows_free(case.patient)}


def framed(case: LabelledCase, family: Family) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Return images and body of a case, framed, and cut or padded to the family's patch."""
    stack = frame(case.volume, family)
    return patched(stack.images, family.side, -1.0), patched(stack.body, family.side, 0)


def patched(array: NDArray[Any], side: int, value: float) -> NDArray[Any]:
    """Return the middle ``side`` rows and columns of an array ``[z, y, x]``, with ``value`` beyond its edges."""
    for axis in (1, 2):
        lacking = side - array.shape[axis]
        if lacking > 0:
            widths = [(0, 0)] * 3
            widths[axis] = (lacking // 2, lacking - lacking // 2)
            array = np.pad(array, widths, constant_values=value)
        else:
            start = -lacking // 2
            array = array.take(range(start, start + side), axis=axis)
    return array


def _loaded(source: Source, family: Family, data: Path, fold: Fold) -> Iterator[SliceSet]:
    if source.layout in PHANTOM_LAYOUTS:
        yield from map(partial(_phantom, source.layout, family), range(PHANTOMS[source.layout]))
        return
    if source.layout == "dicom":
        yield from _chest(data / source.folder, family)
        return
    modality = min(family.modalities)
    for case in source.cases(data, KEPT_IN, modality):
        if not fold.shows_free(case.patient):
            continue
        read = case.read()
        images, body = framed(read, family)
        yield slices.from_framed(images, body, case.name, wanted=slices.tumor_free(read.mask))


def _phantom(layout: str, family: Family, seed: int) -> SliceSet:
    """Return one phantom: all its slices, of which the middle one alone is drawn."""
    images = PHANTOM_LAYOUTS[layout](seed, family.side)
    found = slices.from_framed(images, body_masks(images, family), f"{layout}-{seed}")
    drawn = np.zeros(len(found))
    drawn[len(found) // 2] = 1.0
    return replace(found, weights=drawn)


def _chest(folder: Path, family: Family) -> Iterator[SliceSet]:
    """Return a chest CT cut into patches: the lungs are larger than what is trained on."""
    for number, (images, body) in enumerate(chest.patches(folder, family)):
        yield slices.from_framed(images, body, f"{folder.name}-{number}")
