"""Every check of the gate but subgroups and the card's, and the order in which a reader wants them."""

from __future__ import annotations

import math

import numpy as np

from storage.fewshot.verdicts import Check, Verdict
from workers.fewshot.gate.evidence import Evidence
from workers.fewshot.gate.figures import (
    Estimate,
    area_under_curve,
    balanced_accuracy,
    calibration_by_chance,
    calibration_error,
    f1_macro,
    interval,
    patient_weights,
    share,
)
from workers.fewshot.gate.subgroups import check_subgroups, sufficient_groups


def check_patients(evidence: Evidence) -> Check:
    """Ask for enough evaluation patients, none of whom helped to fit or to calibrate."""
    shared = evidence.fitted_patients & set(evidence.patients.tolist())
    found, least = evidence.patient_count, evidence.bounds.least_patients
    if shared:
        return Check("patients", Verdict.FAIL, f"{len(shared)} patients also helped to fit", found, least)
    verdict = Verdict.PASS if found >= least else Verdict.INSUFFICIENT
    return Check("patients", verdict, f"{found} evaluation patients, at least {least} are wanted", found, least)


def check_baseline(evidence: Evidence) -> Check:
    """Ask that the lower end of the balanced accuracy's interval lies above that of always naming one class."""
    weights = patient_weights(evidence.patients)
    value = float(balanced_accuracy(np.ones((1, len(evidence.truth))), evidence.truth, evidence.chosen)[0])
    found = interval(value, balanced_accuracy(weights, evidence.truth, evidence.chosen))
    baseline = 1.0 / len(np.unique(evidence.truth))
    if baseline == 1.0:
        return Check("baseline", Verdict.INSUFFICIENT, "the evaluation items are all of one class", found.low, baseline)
    verdict = Verdict.PASS if found.low > baseline else Verdict.FAIL
    words = f"balanced accuracy {found.value:.3f} ({found.low:.3f} to {found.high:.3f}), the majority {baseline:.3f}"
    return Check("baseline", verdict, words, found.low, baseline)


def check_incumbent(evidence: Evidence) -> Check:
    """Ask that balanced accuracy is not lower than that of the adapter that predicts now, but for a small loss."""
    if evidence.incumbent is None:
        return Check("incumbent", Verdict.PASS, "no other adapter predicts now")
    one = np.ones((1, len(evidence.truth)))
    present = float(balanced_accuracy(one, evidence.truth, evidence.incumbent.argmax(axis=1))[0])
    value = float(balanced_accuracy(one, evidence.truth, evidence.chosen)[0])
    least = present - evidence.bounds.incumbent_loss
    verdict = Verdict.PASS if value >= least else Verdict.FAIL
    return Check("incumbent", verdict, f"balanced accuracy {value:.3f}, now {present:.3f}", value, least)


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


def check_calibration(evidence: Evidence) -> Check:
    """Ask for a small expected calibration error after temperature scaling.

    INSUFFICIENT where it is too large, but no larger than perfect calibration could give by chance on so few items.
    """
    value, bound = calibration_error(evidence.probabilities, evidence.truth), evidence.bounds.calibration_error
    if not evidence.calibration_items:
        return Check(
            "calibration", Verdict.INSUFFICIENT, "no calibration items: no temperature was fitted", value, bound
        )
    words = f"expected calibration error {value:.3f}"
    if value <= bound:
        return Check("calibration", Verdict.PASS, words, value, bound)
    chance = calibration_by_chance(evidence.probabilities)
    if value > chance:
        return Check("calibration", Verdict.FAIL, words, value, bound)
    words += f": {len(evidence.truth)} items are too few to tell it from chance, which gives up to {chance:.3f}"
    return Check("calibration", Verdict.INSUFFICIENT, words, value, bound)


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


def run_checks(evidence: Evidence) -> tuple[Check, ...]:
    """Return the verdict of every check but the model card's, which names these."""
    return (
        check_patients(evidence),
        check_baseline(evidence),
        check_incumbent(evidence),
        check_shuffled_masks(evidence),
        *check_subgroups(evidence),
        check_calibration(evidence),
        check_coverage(evidence),
        check_seeds(evidence),
    )


def attends_to_lesion(checks: tuple[Check, ...]) -> bool:
    """Say whether the shuffled-mask control lets the card claim that the region decides."""
    return any(check.name == "shuffled-masks" and check.verdict is Verdict.PASS for check in checks)


def headline(evidence: Evidence) -> dict[str, Estimate | float]:
    """Return accuracy and balanced accuracy with intervals, macro F1, AUROC of the positive class, and the ECE."""
    weights, everything = patient_weights(evidence.patients), np.ones(len(evidence.truth), dtype=bool)
    one = np.ones((1, len(evidence.truth)))
    positive = evidence.classes.index(evidence.positive_class)
    balanced = float(balanced_accuracy(one, evidence.truth, evidence.chosen)[0])
    return {
        "accuracy": interval(float(evidence.right.mean()), share(weights, evidence.right, everything)),
        "balanced_accuracy": interval(balanced, balanced_accuracy(weights, evidence.truth, evidence.chosen)),
        "f1": f1_macro(evidence.truth, evidence.chosen),
        "auroc": area_under_curve(evidence.probabilities[:, positive], evidence.truth == positive),
        "calibration_error": calibration_error(evidence.probabilities, evidence.truth),
    }
