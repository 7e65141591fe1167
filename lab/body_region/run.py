"""Make the guard's weights: what ``oncue train region`` calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.body_region.cases import read_cases
from lab.body_region.fitting import fit, fit_under, out_of_fold
from lab.body_region.measuring import Judged, judge
from lab.body_region.vectors import CaseVectors, embed_cases, of_roles
from lab.patients import Role, write_seen
from storage.progress import OnProgress, unheard
from workers.fewshot.contracts import Backbone
from workers.guard.kinds import PictureKind
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
    """Judge the cases of every kind by a head that was fitted on the other kinds alone."""
    judged = []
    for kind in PictureKind:
        others = fit_under(head, [one for one in of_roles(vectors, Role.TRAIN, Role.TUNE) if one.case.kind is not kind])
        judged += judge((one, others) for one in vectors if one.case.kind is kind)
    return judged
