"""Which of a family's networks a patient is scored by: those that were trained without them, else all of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lab.patients import is_seen, read_left_out
from workers.segmentation.family_segmenter import FamilySegmenter, network_files

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class UnseenNetworks:
    """A loaded family, and by its networks, in their order, the digests of the patients each was trained without."""

    segmenter: FamilySegmenter
    left_out: tuple[frozenset[str], ...]

    @classmethod
    def read(cls, segmenter: FamilySegmenter, folder: Path) -> UnseenNetworks:
        """Read what the folder records of a segmenter loaded from it; raises WeightsMismatch."""
        recorded: Mapping[str, frozenset[str]] = read_left_out(folder)
        return cls(segmenter, tuple(recorded.get(file.name, frozenset()) for file in network_files(folder)))

    def of(self, patient: str) -> FamilySegmenter:
        """Return the segmenter with those networks alone that a patient was left out of, if they were of any."""
        known = self.segmenter.networks
        fitting = zip(known.networks, self.left_out, strict=True)
        chosen = tuple(network for network, left_out in fitting if is_seen(patient, left_out))
        if not chosen:
            return self.segmenter
        return replace(self.segmenter, networks=replace(known, networks=chosen))
