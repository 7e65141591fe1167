"""An adapter: a fitted head, its calibration, and the support it may be compared with. Immutable, and plain bytes.

Vectors are float32 ``[n, d]``, probabilities float ``[n, k]``, truth holds class numbers ``[n]``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy import bool_, float32, float64, int64
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from workers.errors import WeightsMismatch
from workers.fewshot.contracts import FittedHead, Head, Vectors
from workers.fewshot.fitted_heads import read_head

_FORMAT = 1
_LEAST_TEMPERATURE, _MOST_TEMPERATURE, _STEPS = 0.05, 20.0, 60
_TINY = 1e-9
NEAREST = 3
_FAR_PERCENTILE = 99.0
_AREA_SLACK = 2.0
"""A lesion may be half as large as the smallest support lesion, or twice as large as the largest."""


class Abstention(StrEnum):
    """Why an adapter would not name a class; the reader decides."""

    NO_MASK = "no_mask"
    AREA_OUT_OF_RANGE = "area_out_of_range"
    FAR_FROM_SUPPORT = "far_from_support"
    AMBIGUOUS_SET = "ambiguous_set"


OF_LESIONS = frozenset({Abstention.NO_MASK, Abstention.AREA_OUT_OF_RANGE})
"""Reasons that a whole image never gives."""


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """Items to fit or calibrate on: a vector, a label, a patient key and an area each.

    The area is the share of the picture that the mask covers, NaN where it is not known.
    """

    vectors: Vectors
    labels: tuple[str, ...]
    patients: tuple[str, ...]
    areas: NDArray[float64]


@dataclass(frozen=True, slots=True)
class Opinion:
    """What an adapter says of one vector: ``label`` is None where it abstains, ``nearest`` is (support row, cosine)."""

    label: str | None
    probability: float | None
    abstained: Abstention | None
    label_set: tuple[str, ...]
    distance: float
    nearest: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True, eq=False)
class FittedAdapter:
    """A head with temperature, conformal threshold, range of areas, and the placed support vectors ``[n, d]``."""

    head: FittedHead
    temperature: float
    threshold: float
    areas: tuple[float, float]
    farthest: float
    centre: NDArray[float32]
    support: Vectors
    labels: tuple[str, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels in the order of the columns of every probability."""
        return self.head.classes

    def probabilities(self, vectors: Vectors) -> NDArray[float64]:
        """Return calibrated probabilities ``[n, k]``."""
        return sharpen(self.head.predict_proba(vectors).astype(float64), self.temperature)

    def sets(self, vectors: Vectors) -> NDArray[bool_]:
        """Return the conformal sets ``[n, k]``."""
        return label_sets(self.probabilities(vectors), self.threshold)

    def opinion(self, vector: NDArray[float32], *, area: float | None) -> Opinion:
        """Say what one vector is, or why not.

        ``area`` is the share of the picture that the mask covers, None for a whole picture.
        """
        probabilities = self.probabilities(vector[None])[0]
        held = tuple(name for name, kept in zip(self.classes, probabilities >= self.threshold, strict=True) if kept)
        cosines = self.support @ _placed(vector[None], self.centre)[0]
        order = np.argsort(-cosines, kind="stable")[:NEAREST]
        distance = float(1.0 - cosines[order[0]])
        reason = self._doubt(area, distance, len(held))
        best = int(probabilities.argmax())
        return Opinion(
            label=None if reason else self.classes[best],
            probability=None if reason else float(probabilities[best]),
            abstained=reason,
            label_set=held,
            distance=distance,
            nearest=tuple((int(row), float(cosines[row])) for row in order),
        )

    def unfamiliarity(self, distance: float) -> float:
        """Return how much farther than support cases are from each other a vector lies: 0 up to there, 1 at twice it.

        ``distance`` is that of an Opinion. Above 0 is where the adapter abstains for FAR_FROM_SUPPORT.
        """
        return max(0.0, distance / max(self.farthest, _TINY) - 1.0)

    def to_bytes(self) -> bytes:
        """Return the adapter as safetensors: the same adapter always gives the same bytes."""
        described = {
            "format": _FORMAT,
            "temperature": self.temperature,
            "threshold": self.threshold,
            "areas": self.areas,
            "farthest": self.farthest,
            "labels": self.labels,
        }
        tensors: dict[str, NDArray[Any]] = {
            "centre": self.centre,
            "described": _bytes(json.dumps(described, sort_keys=True, separators=(",", ":")).encode()),
            "head": _bytes(self.head.to_bytes()),
            "support": self.support,
        }
        return save(tensors)

    def _doubt(self, area: float | None, distance: float, classes: int) -> Abstention | None:
        low, high = self.areas
        if area is not None and not low <= area <= high:
            return Abstention.AREA_OUT_OF_RANGE
        if distance > self.farthest:
            return Abstention.FAR_FROM_SUPPORT
        return None if classes == 1 else Abstention.AMBIGUOUS_SET


def fit_adapter(head: Head, support: Labelled, calibration: Labelled, *, alpha: float, seed: int) -> FittedAdapter:
    """Fit on the support, calibrate on the calibration items; the same rows and seed give the same bytes.

    Raises OneClassOnly, LabelsMissing or EmbeddingNotFinite, each naming the first bad item.
    """
    fitted = head.fit(support.vectors, support.labels, support.patients, seed=seed)
    raw = np.zeros((0, len(fitted.classes)))
    if len(calibration.labels):
        raw = fitted.predict_proba(calibration.vectors).astype(float64)
    truth = class_numbers(calibration.labels, fitted.classes)
    temperature = fit_temperature(raw, truth)
    centre = _centre(support)
    placed = _placed(support.vectors, centre)
    return FittedAdapter(
        head=fitted,
        temperature=temperature,
        threshold=conformal_threshold(sharpen(raw, temperature), truth, alpha=alpha),
        areas=_areas(support.areas),
        farthest=_farthest(placed, support.patients),
        centre=centre,
        support=placed,
        labels=support.labels,
    )


def read_adapter(content: bytes) -> FittedAdapter:
    """Read what ``to_bytes`` wrote; WeightsMismatch where it is damaged or of another version."""
    try:
        tensors = load(content)
        described = json.loads(tensors["described"].tobytes())
        if described["format"] != _FORMAT:
            raise ValueError("another format")  # noqa: TRY301 - one way out for everything that is wrong with it
        low, high = described["areas"]
        return FittedAdapter(
            head=read_head(tensors["head"].tobytes()),
            temperature=float(described["temperature"]),
            threshold=float(described["threshold"]),
            areas=(float(low), float(high)),
            farthest=float(described["farthest"]),
            centre=tensors["centre"],
            support=tensors["support"],
            labels=tuple(described["labels"]),
        )
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise WeightsMismatch("the stored adapter is damaged or of another version: fit it again") from error


def sharpen(probabilities: NDArray[float64], temperature: float) -> NDArray[float64]:
    """Divide the logits by a temperature: below 1 surer, above 1 less sure (Guo et al., 2017)."""
    logits = np.log(np.clip(probabilities, _TINY, None)) / temperature
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), dtype=float64)


def fit_temperature(probabilities: NDArray[float64], truth: NDArray[int64]) -> float:
    """Return the temperature with the least negative log-likelihood, by golden section; 1 where there is no item.

    Written out, since a library's search ends on other last bits, and the same items must give the same bytes.
    """
    if not len(truth):
        return 1.0
    ratio = (math.sqrt(5.0) - 1.0) / 2.0
    low, high = math.log(_LEAST_TEMPERATURE), math.log(_MOST_TEMPERATURE)
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


def class_numbers(labels: Sequence[str], classes: Sequence[str]) -> NDArray[int64]:
    """Return the place of each label among the classes; ValueError where one is not there."""
    return np.array([classes.index(label) for label in labels], dtype=int64)


def _centre(support: Labelled) -> NDArray[float32]:
    """Return the mean of the class means, so that a class with many items does not pull it over."""
    labels = np.array(support.labels)
    means = [support.vectors[labels == label].astype(float64).mean(axis=0) for label in sorted(set(support.labels))]
    return np.asarray(np.mean(means, axis=0), dtype=float32)


def _placed(vectors: Vectors, centre: NDArray[float32]) -> Vectors:
    moved = vectors.astype(float64) - centre
    return np.asarray(moved / np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), 1e-12), dtype=float32)


def _farthest(placed: Vectors, patients: Sequence[str]) -> float:
    """Return how far support items lie from the nearest one of another patient: the 99th percentile."""
    keys = np.array(patients)
    cosines = placed.astype(float64) @ placed.astype(float64).T
    cosines[keys[:, None] == keys[None]] = -1.0
    return float(np.percentile(1.0 - cosines.max(axis=1), _FAR_PERCENTILE))


def _areas(areas: NDArray[float64]) -> tuple[float, float]:
    known = areas[np.isfinite(areas)]
    if not known.size:
        return 0.0, 1.0
    return float(known.min() / _AREA_SLACK), float(min(1.0, known.max() * _AREA_SLACK))


def _bytes(content: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(content, dtype=np.uint8).copy()
