"""Look at a volume before anything is sought in it, and refuse it where it shows another region than the route wants.

The guard abstains rather than accuses: it has an opinion only where most slices look like what it learned, and agree.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from storage.routes.regions import Region
from storage.volumes import Volume
from workers.errors import AnotherBackbone, BodyPartMismatch
from workers.fewshot.contracts import Backbone, Picture, Vectors
from workers.fewshot.frozen_backbone import TorchBackbone
from workers.fewshot.registry import DEFAULT_BACKBONE, open_backbone
from workers.guard.kinds import ALIKE, PictureKind, largest_distance
from workers.guard.pictures import SIDE, pictures_of
from workers.guard.region_head import RegionHead, read_head
from workers.weights import verify

FOLDER = "body-region"
"""Name of the model's folder."""
_AGREEING = 0.6
"""Share of the pictures that must look familiar and show the region, for an opinion."""


@dataclass(frozen=True, slots=True)
class RegionOpinion:
    """What a volume looks like. ``region`` is None where the guard abstains; ``kind`` is then only its nearest guess.

    ``probability`` is that of the region of ``kind``, 0 to 1; 0 where there was nothing to look at. ``distance`` is the
    median over the pictures: above 1 they are unlike everything that the guard learned.
    """

    region: Region | None
    kind: PictureKind | None
    probability: float
    distance: float


NO_OPINION = RegionOpinion(None, None, 0.0, 0.0)
"""Of a volume that shows nothing: empty, constant, not finite."""


@dataclass(frozen=True, slots=True, eq=False)
class RegionGuard:
    """A small head on the frozen encoder's vectors of a few slices; opened once per process."""

    backbone: Backbone
    head: RegionHead

    def look(self, volume: Volume) -> RegionOpinion:
        """Return what the volume looks like, by up to five slices spread over it."""
        pictures = pictures_of(volume)
        if not pictures:
            return NO_OPINION
        return opinion_of(self.head, embedded(self.backbone, pictures), modality=volume.modality)

    def require(self, volume: Volume, wanted: Collection[Region]) -> tuple[str, ...]:
        """Return a note on what a volume looks like, none where the guard abstains; BodyPartMismatch."""
        opinion = self.look(volume)
        check_region(opinion, wanted)
        if opinion.region is None or opinion.kind is None:
            return ()
        return (f"looks_like: {opinion.kind.value} ({opinion.probability:.2f})",)


def open_region_guard(models: Path, *, device: torch.device, backbone: TorchBackbone | None = None) -> RegionGuard:
    """Load the guard from the folder of models; a ``backbone`` that is already open is used instead of a new one.

    Raises WeightsMismatch where a file is not the one that the manifest lists, AnotherBackbone where the head was
    fitted on another encoder, BackboneMissing where the encoder is not installed.
    """
    folder = models / FOLDER
    verify(folder)
    head = read_head(folder)
    small = small_pictures(backbone or open_backbone(DEFAULT_BACKBONE, models=models, device=device))
    if small.card.key != head.description.space:
        raise AnotherBackbone(f"{folder.name} was fitted on {head.description.space}, not on {small.card.key}")
    return RegionGuard(small, head)


def small_pictures(backbone: TorchBackbone) -> TorchBackbone:
    """Return the same encoder for pictures of SIDE pixels, with a key of its own; no weight is copied."""
    card = backbone.card
    preprocessing = replace(card.preprocessing, size=SIDE)
    return replace(backbone, card=replace(card, key=f"{card.key}:{SIDE}", preprocessing=preprocessing))


def embedded(backbone: Backbone, pictures: Sequence[Picture]) -> Vectors:
    """Return one vector for each picture ``[n, d]``."""
    return backbone.embed(pictures).pooled


def opinion_of(head: RegionHead, vectors: Vectors, *, modality: str) -> RegionOpinion:
    """Return what the pictures of one volume say together; each has the same weight.

    There is no opinion where the most probable kind does not arrive under the volume's modality: what looks like PET
    in an MR volume is most of all something that was not learned.
    """
    kinds = head.description.kinds
    probabilities, distances = head.probabilities(vectors), head.distances(vectors)
    shown = np.asarray([kind.region for kind in kinds], dtype=object)
    totals = probabilities.mean(axis=0)
    region = max(dict.fromkeys(shown), key=lambda one: float(totals[shown == one].sum()))
    kind = kinds[int(np.where(shown == region, totals, -1.0).argmax())]
    probability = min(1.0, float(totals[shown == region].sum()))
    agreeing = float(np.mean((shown[probabilities.argmax(axis=1)] == region) & (distances <= 1.0)))
    sure = probability >= head.description.least_probability and agreeing >= _AGREEING and modality in kind.modalities
    return RegionOpinion(region if sure else None, kind, probability, float(np.median(distances)))


def check_region(opinion: RegionOpinion, wanted: Collection[Region]) -> None:
    """Raise BodyPartMismatch where the picture surely shows none of the wanted regions, nor one that looks alike.

    No opinion, and a route that names no region, pass; so does a picture that is not quite like its kind where the
    guard never learned what the wanted regions look like under the modality.
    """
    if opinion.region is None or opinion.kind is None or not wanted or ALIKE[opinion.region] & set(wanted):
        return
    if opinion.distance > largest_distance(opinion.kind, wanted):
        return
    names = ", ".join(sorted(region.value for region in wanted))
    raise BodyPartMismatch(
        f"the picture looks like {opinion.kind.value} (probability {opinion.probability:.2f}), but the route wants "
        f"{names}: look at the series, and at the route's body_part"
    )
