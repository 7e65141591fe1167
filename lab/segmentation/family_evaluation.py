"""Evaluate a family's segmenter on labelled cases, beside the simple rule of that family on the same cases."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lab.segmentation.measuring import Figures, Measured, measure_mask, measure_scores, summarise
from lab.segmentation.simple_rules import SIMPLE_RULES
from storage.domain import Segmentation, is_unfamiliar
from workers.errors import UnsuitableVolume
from workers.segmentation.family_segmenter import ANYTHING
from workers.segmentation.framing import frame

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lab.cases import CaseSource, LabelledCase
    from lab.segmentation.plain_family import PlainFamily
    from lab.segmentation.unseen_networks import UnseenNetworks
    from workers.segmentation.families import Family


@dataclass(frozen=True, slots=True)
class FamilyCase:
    """What one case gave; ``refused`` is the code of a refusal, and nothing was found then."""

    case: str
    patient: str
    dice: float
    simple_dice: float
    case_score: float
    out_of_distribution: float | None
    cpu_seconds: float
    refused: str | None


@dataclass(frozen=True, slots=True)
class FamilyReport:
    """What an evaluation of one family found; ``simple_rule`` says in words what ``simple`` did.

    ``plain`` is the network of single slices, None where it is not installed. ``unfamiliar`` counts the cases whose
    images are unlike those of the training.
    """

    family: str
    weights: str
    overall: Figures
    simple: Figures
    simple_rule: str
    cpu_seconds_per_case: float
    plain: Figures | None
    unfamiliar: int
    per_case: tuple[FamilyCase, ...]

    def to_json(self) -> dict[str, Any]:
        """Return one object of plain values."""
        return asdict(self)


def evaluate_family(
    sources: Sequence[CaseSource],
    family: UnseenNetworks,
    *,
    plain: PlainFamily | None = None,
    prompt: str = ANYTHING,
    on_case: Callable[[FamilyCase], None] = lambda _case: None,
) -> FamilyReport:
    """Segment every case and compare with the experts' masks; ``on_case`` gets each as it comes.

    A family of several kinds of tumour looks for what ``prompt`` names. A patient whom some of the networks were
    trained without is scored by these alone. A volume that is refused counts as one in which nothing was found. Raises
    UnreadableCase where a case is broken.
    """
    own, simple, compared, per_case = [], [], [], []
    segmenter = family.segmenter
    for source in sources:
        case = source.read()
        started = time.process_time()
        found, refused = _segmented(case, family, prompt)
        seconds = time.process_time() - started
        own.append(_measured(case, found.mask, found.score_map))
        ruled = _simple(case, segmenter.family)
        simple.append(_measured(case, ruled, ruled.astype(np.float32)))
        if plain is not None:
            compared.append(_measured(case, *_by_plain(case, plain)))
        dices = own[-1].mask.dice, simple[-1].mask.dice
        distance = found.out_of_distribution
        per_case.append(FamilyCase(case.name, case.patient, *dices, found.case_score, distance, seconds, refused))
        on_case(per_case[-1])
    return FamilyReport(
        family=segmenter.family.name,
        weights=segmenter.weights_sha256,
        overall=summarise(own),
        simple=summarise(simple),
        simple_rule=SIMPLE_RULES[segmenter.family].name,
        plain=summarise(compared) if compared else None,
        unfamiliar=sum(is_unfamiliar(case.out_of_distribution) for case in per_case),
        cpu_seconds_per_case=float(np.mean([case.cpu_seconds for case in per_case])),
        per_case=tuple(per_case),
    )


def _segmented(case: LabelledCase, family: UnseenNetworks, prompt: str) -> tuple[Segmentation, str | None]:
    segmenter = family.segmenter
    try:
        return segmenter.conclude(family.of(case.patient).score(case.volume, prompt=prompt)), None
    except UnsuitableVolume as error:
        empty = np.zeros(case.mask.shape, dtype=bool)
        return Segmentation(empty, empty.astype(np.float32), 0.0, None, segmenter.algorithm()), error.code


def _by_plain(case: LabelledCase, plain: PlainFamily) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    try:
        return plain.segment(case.volume)
    except UnsuitableVolume:
        empty = np.zeros(case.mask.shape, dtype=bool)
        return empty, empty.astype(np.float32)


def _simple(case: LabelledCase, family: Family) -> NDArray[np.bool_]:
    try:
        stack = frame(case.volume, family)
    except UnsuitableVolume:
        return np.zeros(case.mask.shape, dtype=bool)
    ruled = stack.to_volume(SIMPLE_RULES[family].mask(stack).astype(np.float32)) > 0.5  # noqa: PLR2004 - nearest
    return stack.to_stored(ruled)


def _measured(case: LabelledCase, mask: NDArray[np.bool_], scores: NDArray[np.float32]) -> Measured:
    return Measured(
        case.patient, measure_mask(mask, case.mask, case.volume.geometry), measure_scores(scores, case.mask)
    )
