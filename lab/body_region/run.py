"""Make the guard's weights: what ``oncue train region`` calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from lab.body_region.cases import read_cases
from lab.body_region.fitting import fit, fit_under, out_of_fold
from lab.body_region.measuring import Judged, judge
from lab.body_region.vectors import CaseVectors, embed_cases, of_roles
from lab.patients import Role, write_seen
from storage.progress import OnProgress, unheard
from workers.fewshot.contracts import Backbone
from workers.fewshot.frozen_backbone import TorchBackbone
from workers.fewshot.registry import DEFAULT_BACKBONE, open_backbone
from workers.guard.kinds import PictureKind, largest_distance
from workers.guard.region_guard import small_pictures
from workers.guard.region_head import RegionHead
from workers.weights import Manifest, write_manifest

VERSION = "1"
LICENCE = "LicenseRef-oncue-body-region"
"""Of its own: the sources have several, one of them unsettled; the card lists them."""


@dataclass(frozen=True, slots=True)
class RegionTraining:
    """What was made, and how it does: ``test`` on patients kept out, ``folds`` on the others, each held out once.

    ``unlearned`` are the cases of each kind under a head that has never seen the kind: what strangers can expect.
    """

    manifest: Manifest
    test: tuple[Judged, ...]
    folds: tuple[Judged, ...]
    unlearned: tuple[Judged, ...]


def open_encoder() -> TorchBackbone:
    """Load the encoder that the guard uses, on the processor: a GPU's vectors would differ in their last bits."""
    backbone = open_backbone(DEFAULT_BACKBONE, models=Path("models"), device=torch.device("cpu"))
    return small_pictures(backbone)


def train_region(
    data: Path, out: Path, *, backbone: Backbone, work: Path, on_progress: OnProgress = unheard
) -> RegionTraining:
    """Embed the cases below ``data``, fit the head on all but the test patients, write it to ``out``, and measure it.

    Vectors are kept in ``work``, so that a repeated run is quick. Raises TrainingDataMissing that names the folder.
    """
    cases = read_cases(data)
    vectors = embed_cases(cases, backbone, work, on_progress=on_progress)
    learned = of_roles(vectors, Role.TRAIN, Role.TUNE)
    kept_out = of_roles(vectors, Role.TEST)
    head = fit(learned, space=backbone.card.key)
    out.mkdir(parents=True, exist_ok=True)
    head.write(out)
    write_seen({one.case.patient for one in learned}, out)
    manifest = write_manifest(out, name=out.name, version=VERSION, licence=LICENCE)
    return RegionTraining(
        manifest,
        tuple(judge((one, head) for one in kept_out)),
        tuple(judge(out_of_fold(learned, head))),
        tuple(unlearned(vectors, head)),
    )


def unlearned(vectors: Sequence[CaseVectors], head: RegionHead) -> list[Judged]:
    """Judge the cases of every kind by a head fitted on the other kinds alone, as strictly as for strangers."""
    judged = []
    for kind in PictureKind:
        others = fit_under(head, [one for one in of_roles(vectors, Role.TRAIN, Role.TUNE) if one.case.kind is not kind])
        judged += judge((one, others) for one in vectors if one.case.kind is kind)
    return [_strictly(one) for one in judged]


def _strictly(judged: Judged) -> Judged:
    opinion = judged.opinion
    if opinion.kind is None or opinion.distance <= largest_distance(opinion.kind, ()):
        return judged
    return replace(judged, opinion=replace(opinion, region=None))
