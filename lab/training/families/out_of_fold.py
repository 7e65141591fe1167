"""The cases that choose a family's rule, each scored by a network that has seen nothing of its patient's tumour.

Of a folded family these are all patients who are not test patients, each scored by the network that left them out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab.patients import is_tuned_on
from lab.training.families import rounds, tuning
from lab.training.families.choosing import BASE, SpreadCase
from workers.segmentation.framing import frame
from workers.segmentation.mask import smooth_across
from workers.segmentation.own_level import OwnLevel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lab.cases import CaseSource
    from lab.training.families.folds import Fold
    from lab.training.families.settings import FamilySettings
    from lab.training.rules import Scored
    from workers.segmentation.random_walk import Walk


def cases(settings: FamilySettings, fold: Fold) -> list[CaseSource]:
    """Return the cases that a fold's network may be measured on."""
    family, left_out = settings.family, fold.left_out
    taken = is_tuned_on if left_out is None else left_out.__contains__
    modality = min(family.modalities)
    return [case for kind in tuning.KINDS[family] for case in kind.cases(settings.data, modality, taken=taken)]


def scored(settings: FamilySettings, dealt: Sequence[Fold]) -> list[Scored]:
    """Return the cases of all folds with their networks' scores."""
    found: list[Scored] = []
    for fold in dealt:
        network = rounds.networks(settings, rounds.file_of(settings, fold))
        read = (case.read() for case in cases(settings, fold))
        found += tuning.scored(read, network, strangers_only=fold.left_out is None)
    return found


def spread(settings: FamilySettings, dealt: Sequence[Fold], walk: Walk) -> list[SpreadCase]:
    """Return the cases of all folds with their networks' scores as a segmenter with that walk makes them final."""
    family, own, found = settings.family, OwnLevel(walk, 0.0), []
    for fold in dealt:
        network = rounds.networks(settings, rounds.file_of(settings, fold))
        for case in (source.read() for source in cases(settings, fold)):
            stack = frame(case.volume, family)
            spacing = stack.spacing_mm
            smooth = smooth_across(network.scores(stack), spacing[0], BASE.smoothing_mm)
            score = own.spread(smooth, stack.images, spacing)
            grey, truth = (stack.images + 1.0) / 2.0, tuning.framed_truth(case, stack)
            found.append(SpreadCase(case.patient, score, truth, grey, stack.body, spacing))
    return found
