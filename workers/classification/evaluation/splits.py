"""Who is learned from and who is tested on: whole groups on one side, then a share or K examples of each label."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy import intp
from numpy.typing import NDArray

from workers.errors import OneClassOnly, PatientInTwoSplits

TEST_SHARE = 0.2
"""Part of the pictures that is tested on where no test folder is given."""


@dataclass(frozen=True, slots=True)
class Amount:
    """How much is learned from: a share in percent of the training side, or K examples of each label."""

    share: float | None = None
    shots: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Places of pictures on either side."""

    training: NDArray[intp]
    test: NDArray[intp]


def hold_out(labels: Sequence[str], groups: Sequence[str], *, seed: int, share: float = TEST_SHARE) -> Split:
    """Put whole groups aside for the test until it holds ``share`` of each label's pictures.

    A group counts for the label that most of its pictures have.
    """
    rng = np.random.default_rng([seed, 1])
    members = _members(groups)
    by_label: dict[str, list[str]] = defaultdict(list)
    for group, places in members.items():
        held = [labels[place] for place in places]
        by_label[max(sorted(set(held)), key=held.count)].append(group)
    test: list[int] = []
    for label in sorted(by_label):
        wanted, taken = share * sum(len(members[group]) for group in by_label[label]), 0
        for group in rng.permutation(by_label[label]):
            if taken >= wanted:
                break
            test.extend(members[str(group)])
            taken += len(members[str(group)])
    training = sorted(set(range(len(labels))) - set(test))
    return require_sound(Split(np.array(training, dtype=intp), np.array(sorted(test), dtype=intp)), labels, groups)


def require_sound(split: Split, labels: Sequence[str], groups: Sequence[str]) -> Split:
    """Return the split; PatientInTwoSplits or OneClassOnly where it is not one to learn from."""
    both = {groups[place] for place in split.training} & {groups[place] for place in split.test}
    if both:
        raise PatientInTwoSplits(f"{min(both)} is on both sides of the split: keep it on one")
    if len({labels[place] for place in split.training}) < 2:  # noqa: PLR2004 - one class leaves nothing to decide
        raise OneClassOnly("all pictures to learn from have one label: add another class")
    return split


def draw(
    training: NDArray[intp], labels: Sequence[str], groups: Sequence[str], *, amount: Amount, seed: int
) -> NDArray[intp]:
    """Draw the support set: every label keeps its part of the whole, and at least one picture.

    Patients are gone through in turn, so that a second picture of one comes only when every patient gave one: that
    is how a clinician chooses examples.
    """
    rng = np.random.default_rng([seed, 2])
    chosen: list[int] = []
    for label in sorted({labels[place] for place in training}):
        places = [int(place) for place in training if labels[place] == label]
        order = _patients_in_turn([places[at] for at in rng.permutation(len(places))], groups)
        wanted = amount.shots if amount.shots is not None else round(len(places) * (amount.share or 100.0) / 100.0)
        chosen.extend(order[: max(1, wanted)])
    return np.array(sorted(chosen), dtype=intp)


def _patients_in_turn(places: Sequence[int], groups: Sequence[str]) -> list[int]:
    seen: dict[str, int] = defaultdict(int)
    rounds = []
    for at, place in enumerate(places):
        rounds.append((seen[groups[place]], at, place))
        seen[groups[place]] += 1
    return [place for _, _, place in sorted(rounds)]


def _members(groups: Sequence[str]) -> dict[str, list[int]]:
    members: dict[str, list[int]] = defaultdict(list)
    for place, group in enumerate(groups):
        members[group].append(place)
    return dict(sorted(members.items()))
