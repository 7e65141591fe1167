"""Whether the region decides, and whether chance does: shuffled masks and resampled supports."""

from __future__ import annotations

import numpy as np

from storage.fewshot.verdicts import Check, Verdict
from workers.fewshot.gate.evidence import Evidence

_LEAST_SEEDS = 5


def check_shuffled_masks(evidence: Evidence) -> Check:
    """Ask that masks of other items cost accuracy; where they do not, the card may not claim attention to the lesion.

    It does not block: an adapter may be good for another reason, but must not claim this one.
    """
    if evidence.shuffled is None:
        words = "no answers under shuffled masks: the card makes no claim"
        return Check("shuffled-masks", Verdict.INSUFFICIENT, words, None, evidence.bounds.mask_cost, blocks=False)
    wrong = float((evidence.shuffled.argmax(axis=1) == evidence.truth).mean())
    own = float(evidence.right.mean())
    cost = own - wrong
    verdict = Verdict.PASS if cost >= evidence.bounds.mask_cost else Verdict.FAIL
    words = f"accuracy {own:.3f} under its own masks, {wrong:.3f} under those of other items"
    if verdict is Verdict.FAIL:
        words += ": the claim of attention to the lesion is struck"
    return Check("shuffled-masks", verdict, words, cost, evidence.bounds.mask_cost, blocks=False)


def check_seeds(evidence: Evidence) -> Check:
    """Ask that accuracy hardly moves when the support patients are drawn anew."""
    accuracies = evidence.seed_accuracies
    bound = evidence.bounds.seed_spread
    if len(accuracies) < _LEAST_SEEDS:
        return Check("seeds", Verdict.INSUFFICIENT, "the support is too small to be drawn anew", None, bound)
    spread = float(np.std(accuracies))
    verdict = Verdict.PASS if spread <= bound else Verdict.FAIL
    words = f"accuracy {min(accuracies):.3f} to {max(accuracies):.3f} over {len(accuracies)} resampled supports"
    return Check("seeds", verdict, words, spread, bound)
