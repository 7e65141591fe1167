"""What a multi-label model drew beside lesions: organs with their volumes, and the organ that each lesion lies in.

Arrays are ``[z, y, x]``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy import bool_, int32, intp, uint8
from numpy.typing import NDArray
from scipy import ndimage

from storage.domain import LabelEntry, LabelledGrid, LabelRole, Site, Structure
from storage.uids import deterministic_uid
from storage.volumes import Extent, Volume
from workers.components import TOUCHING

_VALUES = 256
_NAME_CHARACTERS = 64
Box = tuple[slice, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Organs:
    """The organs of a labelled grid that have voxels, in the order of its table, and how many each has by value."""

    grid: LabelledGrid
    entries: tuple[LabelEntry, ...]
    voxels: Mapping[int, int]

    def touching(self, lesions: NDArray[uint8]) -> Mapping[int, LabelEntry | None]:
        """Return the organ that surrounds or touches each lesion number most; None where none does.

        A lesion that touches nothing but other lesions counts with them: the core of a tumour lies where its rim does.
        Lesions that share a number are in an organ only where all of them are.
        """
        clusters = _Clusters(lesions)
        return {
            number: self._around(lesions, number, box, clusters)
            for number, box in enumerate(ndimage.find_objects(lesions), start=1)
        }

    def _around(self, lesions: NDArray[uint8], number: int, box: Box, clusters: _Clusters) -> LabelEntry | None:
        place = _widened(box)
        parts, count = ndimage.label(lesions[place] == number, structure=TOUCHING)
        found = {self._around_part(parts == part, place, clusters) for part in range(1, count + 1)}
        return found.pop() if len(found) == 1 else None

    def _around_part(self, mask: NDArray[bool_], place: Box, clusters: _Clusters) -> LabelEntry | None:
        ring = ndimage.binary_dilation(mask, structure=TOUCHING) & ~mask
        touched = self._most_voxels(self.grid.labels[place][ring])
        if touched is not None or not clusters.lesions[place][ring].any():
            return touched
        around, whole = clusters.around(mask, place)
        return self._most_voxels(self.grid.labels[around][whole])

    def _most_voxels(self, values: NDArray[uint8]) -> LabelEntry | None:
        """Return the organ that most of some voxels belong to, the first of the table where two have as many."""
        votes: NDArray[intp] = np.bincount(values, minlength=_VALUES)
        best = max(self.entries, key=lambda entry: int(votes[entry.value]), default=None)
        return best if best is not None and votes[best.value] else None


@dataclass(eq=False)
class _Clusters:
    """Lesions that hang together, whatever their numbers; found when first asked for, since most stand alone."""

    lesions: NDArray[uint8]

    def around(self, mask: NDArray[bool_], place: Box) -> tuple[Box, NDArray[bool_]]:
        """Return where the cluster of a lesion lies, and there the voxels next to it."""
        cluster = int(self._numbers[place][mask][0])
        wide = _widened(self._boxes[cluster - 1])
        whole = self._numbers[wide] == cluster
        return wide, ndimage.binary_dilation(whole, structure=TOUCHING) & ~whole

    @cached_property
    def _numbers(self) -> NDArray[int32]:
        return np.asarray(ndimage.label(self.lesions, structure=TOUCHING)[0], dtype=int32)

    @cached_property
    def _boxes(self) -> list[Box]:
        return list(ndimage.find_objects(self._numbers))


def find_organs(grid: LabelledGrid) -> Organs:
    """Return the organs that have voxels."""
    counts = _count_values(grid.labels)
    entries = tuple(entry for entry in grid.table if entry.role is LabelRole.ORGAN and counts[entry.value])
    return Organs(grid, entries, {entry.value: int(counts[entry.value]) for entry in entries})


def site_of(stated: Site | None, organ: LabelEntry | None) -> Site | None:
    """Return where a lesion lies: where its label says, else in the organ that it touches, of which it has the side."""
    if stated is None:
        return _own_site(organ) if organ else None
    if organ is not None and stated.laterality is None and _alike(stated, Site(organ.concept)):
        return Site(stated.concept, organ.laterality)
    return stated


def hold_lesions(
    organs: Organs, sites: Mapping[int, Site | None], touched: Mapping[int, LabelEntry | None]
) -> Mapping[int, tuple[int, ...]]:
    """Return the numbers of the lesions in each organ, by the organ's value; a lesion is counted in one organ alone."""
    held: dict[int, list[int]] = {entry.value: [] for entry in organs.entries}
    for number, site in sorted(sites.items()):
        if site is None:
            continue
        touching = touched[number]
        candidates = [*([touching] if touching else []), *organs.entries]
        owner = next((entry for entry in candidates if _alike(_own_site(entry), site)), None)
        if owner is not None:
            held[owner.value].append(number)
    return {value: tuple(numbers) for value, numbers in held.items()}


def describe_structures(
    organs: Organs,
    lesions: NDArray[uint8],
    held: Mapping[int, tuple[int, ...]],
    *,
    volume: Volume,
    identity: Sequence[str],
) -> tuple[Structure, ...]:
    """Return the organs as structures, numbered after the lesions, each with the volume of it and its lesions.

    ``identity`` are the words that their tracking UIDs follow from, with the label's value.
    """
    sizes = _count_values(lesions)
    voxel_ml = volume.geometry.voxel_ml if volume.extent is Extent.VOLUME else 0.0
    return tuple(
        Structure(
            number=number,
            name=entry.name[:_NAME_CHARACTERS],
            site=_own_site(entry),
            volume_ml=voxel_ml * (organs.voxels[entry.value] + int(sum(sizes[one] for one in held[entry.value]))),
            tracking_id=entry.name[:_NAME_CHARACTERS],
            tracking_uid=deterministic_uid("tracking", *identity, f"organ {entry.value}"),
            lesions=held[entry.value],
        )
        for number, entry in enumerate(organs.entries, start=int(lesions.max(initial=0)) + 1)
    )


def lay_under(lesions: NDArray[uint8], organs: Organs) -> NDArray[uint8]:
    """Return one grid of lesion numbers and, where there is no lesion, those of the organs, counted on from them."""
    numbers = np.zeros(_VALUES, dtype=uint8)
    for number, entry in enumerate(organs.entries, start=int(lesions.max(initial=0)) + 1):
        numbers[entry.value] = number
    laid = numbers[organs.grid.labels]
    np.copyto(laid, lesions, where=lesions > 0)
    return laid


def _count_values(labels: NDArray[uint8]) -> NDArray[intp]:
    """Count how many voxels have each value, slice by slice: counting turns each voxel into eight bytes."""
    counts = np.zeros(_VALUES, dtype=intp)
    for plane in labels:
        counts += np.bincount(plane.ravel(), minlength=_VALUES)
    return counts


def _widened(box: Box) -> Box:
    """Return a box with a voxel more on each side; what lies outside of the grid is left out."""
    return tuple(slice(max(0, side.start - 1), side.stop + 1) for side in box)


def _own_site(organ: LabelEntry) -> Site:
    return Site(organ.concept, organ.laterality)


def _alike(one: Site, other: Site) -> bool:
    """Say whether two sites are the same by their codes; what the codes are called may differ."""
    return _codes(one) == _codes(other)


def _codes(site: Site) -> tuple[str, str, str | None]:
    side = site.laterality.value if site.laterality else None
    return site.concept.scheme, site.concept.value, side
