"""Whether the probabilities and the conformal sets keep what they promise."""

from __future__ import annotations

import math

import numpy as np

from storage.fewshot.verdicts import Check, Verdict
from workers.fewshot.gate.evidence import Evidence
from workers.fewshot.gate.figures import calibration_error
from workers.fewshot.gate.subgroups import sufficient_groups


def check_calibration(evidence: Evidence) -> Check:
    """Ask for a small expected calibration error after temperature scaling."""
    value, bound = calibration_error(evidence.probabilities, evidence.truth), evidence.bounds.calibration_error
    if not evidence.calibration_items:
        return Check(
            "calibration", Verdict.INSUFFICIENT, "no calibration items: no temperature was fitted", value, bound
        )
    verdict = Verdict.PASS if value <= bound else Verdict.FAIL
    return Check("calibration", verdict, f"expected calibration error {value:.3f}", value, bound)


def check_coverage(evidence: Evidence) -> Check:
    """Ask that the conformal sets hold the true class as often as promised, also in every sufficient group."""
    least = 1.0 - evidence.alpha - evidence.bounds.coverage_slack
    needed = math.ceil(1.0 / evidence.alpha) - 1
    if evidence.calibration_items < needed:
        words = (
            f"{evidence.calibration_items} calibration items, at least {needed} are needed for alpha {evidence.alpha}"
        )
        return Check("coverage", Verdict.INSUFFICIENT, words, None, least)
    held = evidence.label_sets[np.arange(len(evidence.truth)), evidence.truth]
    worst, where = float(held.mean()), "all items"
    for name, value, members in sufficient_groups(evidence):
        if float(held[members].mean()) < worst:
            worst, where = float(held[members].mean()), f"{name} {value}"
    verdict = Verdict.PASS if worst >= least else Verdict.FAIL
    size, single = float(evidence.label_sets.sum(axis=1).mean()), float((evidence.label_sets.sum(axis=1) == 1).mean())
    words = f"coverage {held.mean():.3f}, lowest {worst:.3f} in {where}; mean set {size:.2f}, {single:.0%} of one class"
    return Check("coverage", verdict, words, worst, least)
