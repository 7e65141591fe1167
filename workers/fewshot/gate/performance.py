"""Enough patients, better than the majority, not worse than the adapter that predicts now."""

from __future__ import annotations

import numpy as np

from storage.fewshot.verdicts import Check, Verdict
from workers.fewshot.gate.evidence import Evidence
from workers.fewshot.gate.figures import balanced_accuracy, interval, patient_weights


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
