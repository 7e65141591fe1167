"""Whether it is as good for everybody: equalised odds by sex, age band and site, with whole patients redrawn.

Several classes are judged one against the rest, and the worst counts.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy import bool_, float64, str_
from numpy.typing import NDArray

from storage.fewshot.verdicts import Check, Verdict
from workers.fewshot.gate.evidence import Evidence
from workers.fewshot.gate.figures import patient_weights, share

ATTRIBUTES = ("sex", "age_band", "site")
_LEAST_GROUPS = 2


def check_subgroups(evidence: Evidence) -> tuple[Check, ...]:
    """Judge every attribute by itself."""
    return tuple(_check(evidence, attribute) for attribute in ATTRIBUTES)


def sufficient_groups(evidence: Evidence) -> Iterator[tuple[str, str, NDArray[bool_]]]:
    """Yield attribute, value and members ``[n]`` of every group with enough positives and negatives."""
    for attribute in ATTRIBUTES:
        values = _values(evidence, attribute)
        for value in sorted({*values.tolist()} - {""}):
            members = np.asarray(values == value, dtype=bool_)
            if _thin(evidence, members) is None:
                yield attribute, value, members


def _check(evidence: Evidence, attribute: str) -> Check:
    name, bounds = f"subgroups:{attribute}", evidence.bounds
    values = _values(evidence, attribute)
    missing = float((values == "").mean())
    if missing > bounds.unrecorded_share:
        words = f"{attribute} is not recorded for {missing:.0%} of the items"
        return Check(name, Verdict.INSUFFICIENT, words, missing, bounds.unrecorded_share)
    groups = {value: np.asarray(values == value, dtype=bool_) for value in sorted({*values.tolist()} - {""})}
    if len(groups) < _LEAST_GROUPS:
        only = next(iter(groups), "none")
        return Check(name, Verdict.INSUFFICIENT, f"one group only ({only}): no gap can be measured", len(groups), 2.0)
    for value, members in groups.items():
        thin = _thin(evidence, members)
        if thin is not None:
            words = f"{attribute} {value} has {thin} of a class, at least {bounds.least_in_group} are needed"
            return Check(name, Verdict.INSUFFICIENT, words, thin, bounds.least_in_group)
    return _judge(evidence, name, groups)


def _judge(evidence: Evidence, name: str, groups: dict[str, NDArray[bool_]]) -> Check:
    bounds = evidence.bounds
    floor, where = min((_sensitivity(evidence, members), value) for value, members in groups.items())
    if floor < evidence.sensitivity_floor:
        words = f"sensitivity {floor:.3f} in {where}, at least {evidence.sensitivity_floor:.3f} is wanted everywhere"
        return Check(name, Verdict.FAIL, words, floor, evidence.sensitivity_floor)
    gap = float(_odds_gap(evidence, groups, np.ones((1, len(evidence.truth))))[0])
    draws = _odds_gap(evidence, groups, patient_weights(evidence.patients))
    low, high = np.nanquantile(draws, (0.025, 0.975))
    words = f"equalised odds differ by {gap:.3f}; a gap of up to {high:.3f} cannot be excluded (from {low:.3f})"
    if low > bounds.odds_gap_lower:
        return Check(name, Verdict.FAIL, words, gap, bounds.odds_gap)
    if gap > bounds.odds_gap:
        # So wide an interval neither clears the adapter nor convicts it: that is for more patients to settle.
        return Check(name, Verdict.INSUFFICIENT, f"{words}: too few patients to tell", gap, bounds.odds_gap)
    return Check(name, Verdict.PASS, words, gap, bounds.odds_gap)


def _odds_gap(evidence: Evidence, groups: dict[str, NDArray[bool_]], weights: NDArray[float64]) -> NDArray[float64]:
    """Return the largest difference between groups in true or false positive rate, over classes ``[draws]``."""
    gaps = []
    for label in np.unique(evidence.truth):
        chosen, positive = evidence.chosen == label, evidence.truth == label
        for among in (positive, ~positive):
            rates = np.stack([share(weights, chosen, among & members) for members in groups.values()])
            gaps.append(np.nanmax(rates, axis=0) - np.nanmin(rates, axis=0))
    return np.asarray(np.stack(gaps).max(axis=0), dtype=float64)


def _sensitivity(evidence: Evidence, members: NDArray[bool_]) -> float:
    positive = members & (evidence.truth == evidence.classes.index(evidence.positive_class))
    return float(evidence.right[positive].mean())


def _thin(evidence: Evidence, members: NDArray[bool_]) -> int | None:
    """Return how many of the rarer side a group has where that is too few, None where there are enough."""
    positive = evidence.truth == evidence.classes.index(evidence.positive_class)
    fewest = int(min((members & positive).sum(), (members & ~positive).sum()))
    return fewest if fewest < evidence.bounds.least_in_group else None


def _values(evidence: Evidence, attribute: str) -> NDArray[str_]:
    empty = np.full(len(evidence.truth), "", dtype=str_)
    return np.asarray(evidence.groups.get(attribute, empty), dtype=str_)
