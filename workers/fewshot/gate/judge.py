"""Run every check of the gate, in the order in which a reader wants them."""

from __future__ import annotations

import numpy as np

from storage.fewshot.verdicts import Check, Verdict
from workers.fewshot.gate.controls import check_seeds, check_shuffled_masks
from workers.fewshot.gate.evidence import Evidence
from workers.fewshot.gate.figures import (
    Interval,
    area_under_curve,
    balanced_accuracy,
    calibration_error,
    f1_macro,
    interval,
    patient_weights,
    share,
)
from workers.fewshot.gate.performance import check_baseline, check_incumbent, check_patients
from workers.fewshot.gate.probabilities import check_calibration, check_coverage
from workers.fewshot.gate.subgroups import check_subgroups


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


def headline(evidence: Evidence) -> dict[str, Interval | float]:
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
