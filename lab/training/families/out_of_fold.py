"""The cases that choose a family's rule, each scored by a network that has seen nothing of its patient's tumour.

Of a folded family these are all patients who are not test patients, each scored by the network that left them out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab.patients import is_tuned_on
from lab.training.families import rounds, tuning

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lab.cases import CaseSource
    from lab.training.families.folds import Fold
    from lab.training.families.settings import FamilySettings
    from lab.training.rules import Scored


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
