"""The grid of a study: backbone x prompt x head x freezing x amount, each over several seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy import bool_, intp
from numpy.typing import NDArray

from lab.fewshot.measures import Figure, Measures, Predicted, measure
from lab.fewshot.splits import Amount, Sides, draw, hold_out, require_sound, thinned, wanted_counts
from workers.fewshot.contracts import Head, MaskSource, PromptMode, Vectors
from workers.fewshot.pictures import TRAIT_COLUMNS, LabelledPicture


@dataclass(frozen=True, slots=True)
class Thinning:
    """How much of one sex the support set may be drawn from."""

    sex: str
    kept: float


@dataclass(frozen=True, slots=True)
class Setting:
    """What is the same for all seeds of a run."""

    backbone: str
    prompt: PromptMode
    masks: MaskSource
    head: str
    freeze: str
    amount: Amount
    thinning: Thinning | None = None


@dataclass(frozen=True, slots=True)
class Control:
    """The same run with every mask on the wrong picture; ``drop`` is how much accuracy that costs."""

    measures: Measures
    drop: float


@dataclass(frozen=True, slots=True)
class ExperimentRun:
    """One line of the result."""

    setting: Setting
    support: float
    """Pictures learned from, mean over seeds."""
    measures: Measures
    groups: Mapping[str, Measures] = field(default_factory=dict)
    control: Control | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """The pictures of a study and how they may be split; ``training`` is set where a test folder was given."""

    pictures: Sequence[LabelledPicture]
    groups: Sequence[str]
    training: NDArray[bool_] | None = None

    @property
    def labels(self) -> list[str]:
        """The label of each picture."""
        return [picture.label for picture in self.pictures]

    def split(self, seed: int) -> Sides:
        """Return the two sides for a seed."""
        if self.training is None:
            return hold_out(self.labels, self.groups, seed=seed)
        sides = (np.flatnonzero(side).astype(intp) for side in (self.training, ~self.training))
        return require_sound(Sides(*sides), self.labels, self.groups)

    def support(self, split: Sides, setting: Setting, seed: int) -> NDArray[intp]:
        """Draw what is learned from; thinning one sex leaves the number drawn as it was."""
        labels, pool = self.labels, split.training
        wanted = wanted_counts(pool, labels, setting.amount)
        if setting.thinning is not None:
            marked = np.array([one.traits.get("sex") == setting.thinning.sex for one in self.pictures])
            pool = thinned(pool, marked, kept=setting.thinning.kept, seed=seed)
        return draw(pool, labels, self.groups, wanted=wanted, seed=seed)


Predict = Callable[[NDArray[intp], NDArray[intp], int], tuple[tuple[str, ...], Vectors]]
"""From places of support and test pictures and a seed: the classes, and their probabilities for the test pictures."""


def predict_with(head: Head, vectors: Vectors, material: Material) -> Predict:
    """Return a predictor that fits a head on embedded pictures."""
    labels = material.labels

    def predict(support: NDArray[intp], test: NDArray[intp], seed: int) -> tuple[tuple[str, ...], Vectors]:
        chosen = [labels[place] for place in support]
        fitted = head.fit(vectors[support], chosen, [material.groups[place] for place in support], seed=seed)
        return fitted.classes, fitted.predict_proba(vectors[test])

    return predict


def run(setting: Setting, predict: Predict, *, material: Material, seeds: int) -> ExperimentRun:
    """Draw, fit and test for each seed; measure overall and for each subgroup that the lists name."""
    classes = sorted(set(material.labels))
    outcomes, tested, sizes = [], [], []
    numbers = {group: number for number, group in enumerate(sorted(set(material.groups)))}
    for seed in range(seeds):
        split = material.split(seed)
        support = material.support(split, setting, seed)
        known, probabilities = predict(support, split.test, seed)
        wide = np.zeros((len(split.test), len(classes)), dtype=np.float32)
        wide[:, [classes.index(label) for label in known]] = probabilities
        targets = np.array([classes.index(material.labels[place]) for place in split.test], dtype=intp)
        owners = np.array([numbers[material.groups[place]] for place in split.test], dtype=intp)
        outcomes.append(Predicted(targets, wide, owners))
        tested.append(split.test)
        sizes.append(len(support))
    groups = _by_trait(outcomes, tested, material)
    return ExperimentRun(setting, float(np.mean(sizes)), measure(outcomes), groups)


def controlled(result: ExperimentRun, wrong: ExperimentRun) -> ExperimentRun:
    """Put the wrong-mask control beside a run."""
    drop = _mean(result.measures.accuracy) - _mean(wrong.measures.accuracy)
    control = Control(wrong.measures, drop)
    return ExperimentRun(result.setting, result.support, result.measures, result.groups, control)


def _mean(figure: Figure) -> float:
    return float("nan") if figure.mean is None else figure.mean


def _by_trait(
    outcomes: Sequence[Predicted], tested: Sequence[NDArray[intp]], material: Material
) -> dict[str, Measures]:
    groups = {}
    for trait in TRAIT_COLUMNS:
        values = np.array([picture.traits.get(trait, "") for picture in material.pictures])
        for value in sorted(set(values) - {""}):
            parts = [one.part(values[test] == value) for one, test in zip(outcomes, tested, strict=True)]
            groups[f"{trait}={value}"] = measure(parts)
    return groups
