"""The gate on made-up evidence, where what it should say is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from storage.fewshot.verdicts import Check, Verdict, overall
from workers.fewshot.classifier import conformal_threshold, fit_temperature, label_sets, sharpen
from workers.fewshot.gate.card import ModelCard, check_card, render
from workers.fewshot.gate.checks import attends_to_lesion, headline, run_checks
from workers.fewshot.gate.evidence import Evidence
from workers.fewshot.gate.figures import area_under_curve, calibration_error, patient_weights


def evidence(
    *, men: int = 200, women: int = 200, men_error: float = 0.05, error: float = 0.05, seed: int = 1
) -> Evidence:
    """Draw two items each of so many patients; answers are wrong and sure as often as ``error`` says."""
    rng = np.random.default_rng(seed)
    sex = np.repeat(np.array(["M"] * men + ["F"] * women), 2)
    truth = np.tile([0, 1], men + women)
    wrong = rng.random(len(truth)) < np.where(sex == "M", men_error, error)
    sure = np.where(wrong, rng.uniform(0.05, 0.45, len(truth)), rng.uniform(0.8, 1.0, len(truth)))
    probabilities = np.where(np.arange(2)[None] == truth[:, None], sure[:, None], 1 - sure[:, None])
    half = np.tile(["a", "a", "b", "b"], (men + women + 1) // 2)[: len(truth)]
    return Evidence(
        classes=("benign", "malignant"),
        positive_class="malignant",
        truth=truth,
        probabilities=probabilities,
        label_sets=probabilities >= 0.2,
        patients=np.repeat(np.array([f"p{n}" for n in range(men + women)]), 2),
        groups={"sex": sex, "age_band": half, "site": half[::-1]},
        fitted_patients=frozenset({"s1", "s2"}),
        calibration_items=60,
        alpha=0.1,
        sensitivity_floor=0.5,
        shuffled=np.full((len(truth), 2), 0.5),
        seed_accuracies=(0.9, 0.91, 0.92, 0.9, 0.91),
    )


def verdicts(found: Evidence) -> dict[str, Verdict]:
    return {check.name: check.verdict for check in run_checks(found)}


def named(found: Evidence, name: str) -> Check:
    (check,) = [check for check in run_checks(found) if check.name == name]
    return check


def test_an_adapter_that_serves_everybody_passes_every_check() -> None:
    checks = run_checks(evidence())
    assert {check.name: check.verdict for check in checks if check.verdict is not Verdict.PASS} == {}
    assert overall(checks) is Verdict.PASS


def test_too_few_men_is_insufficient_and_says_how_many_there_are() -> None:
    check = named(evidence(men=4), "subgroups:sex")
    assert (check.verdict, check.value, check.bound) == (Verdict.INSUFFICIENT, 4.0, 10.0)
    assert "sex M has 4" in check.reason
    assert overall(run_checks(evidence(men=4))) is Verdict.INSUFFICIENT


@pytest.mark.slow
def test_a_gap_between_the_sexes_fails_and_one_group_alone_says_nothing() -> None:
    check = named(evidence(men_error=0.45), "subgroups:sex")
    assert check.verdict is Verdict.FAIL
    assert "equalised odds" in check.reason
    assert named(evidence(men=0), "subgroups:sex").verdict is Verdict.INSUFFICIENT


def test_a_gap_that_few_patients_neither_prove_nor_rule_out_is_insufficient() -> None:
    found = evidence(men=14, women=14, men_error=0.22, error=0.05, seed=2)
    check = named(found, "subgroups:sex")
    assert check.value is not None
    assert check.value > found.bounds.odds_gap
    assert (check.verdict, "too few patients" in check.reason) == (Verdict.INSUFFICIENT, True)


def test_a_group_that_is_missed_too_often_fails_on_the_floor() -> None:
    found = replace(evidence(error=0.4, men_error=0.4), sensitivity_floor=0.9)
    assert "sensitivity" in named(found, "subgroups:sex").reason


def test_an_attribute_that_nobody_recorded_is_insufficient() -> None:
    found = evidence()
    empty = {**found.groups, "site": np.full(len(found.truth), "")}
    check = named(replace(found, groups=empty), "subgroups:site")
    assert (check.verdict, check.value) == (Verdict.INSUFFICIENT, 1.0)


def test_few_patients_are_insufficient_and_a_patient_that_was_fitted_on_fails() -> None:
    assert verdicts(evidence(men=12, women=12))["patients"] is Verdict.INSUFFICIENT
    assert verdicts(replace(evidence(), fitted_patients=frozenset({"p3"})))["patients"] is Verdict.FAIL


def test_guessing_is_not_better_than_the_majority() -> None:
    assert verdicts(evidence(error=0.5, men_error=0.5))["baseline"] is Verdict.FAIL


@pytest.mark.slow
def test_a_worse_adapter_does_not_replace_the_one_that_predicts() -> None:
    found = evidence(error=0.2, men_error=0.2)
    better = evidence(error=0.02, men_error=0.02).probabilities
    assert verdicts(replace(found, incumbent=better))["incumbent"] is Verdict.FAIL
    assert verdicts(replace(found, incumbent=found.probabilities))["incumbent"] is Verdict.PASS


@pytest.mark.slow
def test_where_wrong_masks_cost_nothing_the_claim_is_struck_but_nothing_is_blocked() -> None:
    found = evidence()
    indifferent = replace(found, shuffled=found.probabilities)
    checks = run_checks(indifferent)
    assert named(indifferent, "shuffled-masks").verdict is Verdict.FAIL
    assert "struck" in named(indifferent, "shuffled-masks").reason
    assert not attends_to_lesion(checks)
    assert overall(checks) is Verdict.PASS
    assert attends_to_lesion(run_checks(found))


@pytest.mark.slow
def test_seeds_that_disagree_fail_and_too_few_of_them_are_insufficient() -> None:
    assert verdicts(replace(evidence(), seed_accuracies=(0.6, 0.9, 0.7, 0.95, 0.5)))["seeds"] is Verdict.FAIL
    assert verdicts(replace(evidence(), seed_accuracies=()))["seeds"] is Verdict.INSUFFICIENT


@pytest.mark.slow
@pytest.mark.parametrize(
    ("patients", "boast", "expected"),
    [(30, 0.0, Verdict.INSUFFICIENT), (30, 0.3, Verdict.FAIL), (300, 0.0, Verdict.PASS), (300, 0.15, Verdict.FAIL)],
)
def test_a_calibration_error_that_chance_gives_on_few_patients_is_no_failure(
    patients: int, boast: float, expected: Verdict
) -> None:
    rng = np.random.default_rng(3)
    sure = rng.uniform(0.52, 0.7, 2 * patients)
    right = rng.random(2 * patients) < sure
    said = np.minimum(sure + boast, 0.99)
    truth = np.tile([0, 1], patients)
    own = np.where(right, said, 1 - said)
    probabilities = np.where(np.arange(2)[None] == truth[:, None], own[:, None], 1 - own[:, None])
    found = replace(evidence(men=patients // 2, women=patients - patients // 2), probabilities=probabilities)
    assert verdicts(found)["calibration"] is expected


@pytest.mark.slow
def test_probabilities_that_are_off_fail_and_sets_that_hold_too_little_fail() -> None:
    found = evidence()
    boastful = np.where(found.probabilities > 0.5, 1.0, 0.0)
    assert verdicts(replace(found, probabilities=boastful, truth=1 - found.truth))["calibration"] is Verdict.FAIL
    assert verdicts(replace(found, label_sets=found.probabilities > 0.95))["coverage"] is Verdict.FAIL
    assert verdicts(replace(found, calibration_items=8))["coverage"] is Verdict.INSUFFICIENT


@pytest.mark.slow
def test_the_same_evidence_always_gets_the_same_figures() -> None:
    assert run_checks(evidence()) == run_checks(evidence())
    assert headline(evidence()) == headline(evidence())


def test_patients_are_redrawn_whole() -> None:
    weights = patient_weights(np.array(["a", "a", "b", "c"]), draws=50)
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[:, 1:].sum(axis=1) == 3).all()


def test_a_card_with_a_gap_fails_and_is_rendered_with_its_checks() -> None:
    card = ModelCard(*("stated",) * 21)
    assert check_card(card).verdict is Verdict.PASS
    check = check_card(replace(card, licence=" "))
    assert (check.verdict, check.reason) == (Verdict.FAIL, "not stated: licence")
    assert "| card | FAIL | not stated: licence |" in render(card, (check,))


def overconfident(rng: np.random.Generator, items: int) -> tuple[np.ndarray, np.ndarray]:
    logits = rng.normal(0, 2, (items, 3))
    chances = sharpen(np.exp(logits), 1.0)
    truth = np.array([rng.choice(3, p=row) for row in chances])
    return sharpen(chances, 0.4), truth


def test_temperature_undoes_overconfidence_on_new_items() -> None:
    rng = np.random.default_rng(2)
    held_out, truth = overconfident(rng, 800)
    temperature = fit_temperature(held_out, truth)
    assert temperature == pytest.approx(2.5, rel=0.25)
    new, new_truth = overconfident(rng, 800)
    assert calibration_error(sharpen(new, temperature), new_truth) < calibration_error(new, new_truth) / 2


def test_sets_calibrated_on_held_out_items_cover_and_those_calibrated_on_the_support_do_not() -> None:
    rng = np.random.default_rng(3)
    centres = rng.normal(0, 1.0, (3, 40))

    def draw(items: int) -> tuple[np.ndarray, np.ndarray]:
        truth = rng.integers(0, 3, items)
        return centres[truth] * 0.4 + rng.normal(0, 1, (items, 40)), truth

    support, support_truth = draw(60)
    held_out, held_out_truth = draw(300)
    new, new_truth = draw(2000)
    prototypes = np.stack([support[support_truth == label].mean(axis=0) for label in range(3)])

    def answers(vectors: np.ndarray) -> np.ndarray:
        return sharpen(np.exp(-((vectors[:, None] - prototypes[None]) ** 2).sum(axis=2) / 8), 1.0)

    def coverage(vectors: np.ndarray, truth: np.ndarray) -> float:
        threshold = conformal_threshold(answers(vectors), truth, alpha=0.1)
        return float(label_sets(answers(new), threshold)[np.arange(len(new)), new_truth].mean())

    assert coverage(held_out, held_out_truth) > 0.87
    assert coverage(support, support_truth) < 0.87


def test_too_few_calibration_items_rule_nothing_out() -> None:
    threshold = conformal_threshold(np.full((5, 2), 0.5), np.zeros(5, dtype=int), alpha=0.1)
    assert threshold == 0.0
    assert label_sets(np.array([[0.99, 0.01]]), threshold).all()


def test_the_area_under_the_curve_counts_ties_half() -> None:
    assert area_under_curve(np.array([0.1, 0.5, 0.5, 0.9]), np.array([False, False, True, True])) == 0.875
