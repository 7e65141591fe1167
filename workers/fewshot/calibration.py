"""From a head's probabilities to calibrated ones, and to sets that hold the true class as often as promised.

Both are fitted on calibration items: those of the support set would flatter (their scores are not exchangeable with a
new patient's). Probabilities are float ``[n, k]``, truth holds class numbers ``[n]``.
"""

from __future__ import annotations

import math

import numpy as np
from numpy import bool_, float64, int64
from numpy.typing import NDArray

_LEAST, _MOST, _STEPS = 0.05, 20.0, 60
_TINY = 1e-9


def sharpen(probabilities: NDArray[float64], temperature: float) -> NDArray[float64]:
    """Divide the logits by a temperature: below 1 surer, above 1 less sure (Guo et al., 2017)."""
    logits = np.log(np.clip(probabilities, _TINY, None)) / temperature
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), dtype=float64)


def fit_temperature(probabilities: NDArray[float64], truth: NDArray[int64]) -> float:
    """Return the temperature with the least negative log-likelihood, by golden section; 1 where there is no item."""
    if not len(truth):
        return 1.0
    ratio = (math.sqrt(5.0) - 1.0) / 2.0
    low, high = math.log(_LEAST), math.log(_MOST)
    for _ in range(_STEPS):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if _loss(probabilities, truth, math.exp(left)) <= _loss(probabilities, truth, math.exp(right)):
            high = right
        else:
            low = left
    return math.exp((low + high) / 2.0)


def conformal_threshold(probabilities: NDArray[float64], truth: NDArray[int64], *, alpha: float) -> float:
    """Return the least probability that a class needs to be in the set, for coverage 1 - alpha (split conformal).

    0 where there are too few items to promise anything: then every class is in every set.
    """
    scores = np.sort(1.0 - probabilities[np.arange(len(truth)), truth])
    rank = math.ceil((len(scores) + 1) * (1.0 - alpha))
    return 0.0 if rank > len(scores) else float(1.0 - scores[rank - 1])


def label_sets(probabilities: NDArray[float64], threshold: float) -> NDArray[bool_]:
    """Return which classes cannot be ruled out ``[n, k]``; a set may be empty or hold several."""
    return np.asarray(probabilities >= threshold, dtype=bool_)


def _loss(probabilities: NDArray[float64], truth: NDArray[int64], temperature: float) -> float:
    chosen = sharpen(probabilities, temperature)[np.arange(len(truth)), truth]
    return float(-np.log(np.clip(chosen, _TINY, None)).mean())
