"""Who is learned from and who is tested on: whole groups on one side, then a share or K examples of each label."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy import bool_, intp
from numpy.typing import NDArray

from lab.errors import PatientInTwoSplits
from workers.errors import OneClassOnly

TEST_SHARE = 0.2
"""Part of the pictures that is tested on where no test folder is given."""


@dataclass(frozen=True, slots=True)
class Amount:
    """How much is learned from: a share in percent of the training side, or K examples of each label."""

    share: float | None = None
    shots: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Sides:
    """Places of pictures on either side."""

    training: NDArray[intp]
    test: NDArray[intp]


def hold_out(labels: Sequence[str], groups: Sequence[str], *, seed: int, share: float = TEST_SHARE) -> Sides:
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
        # The last group always stays on the training side: a label that cannot be learned cannot be tested.
        for group in rng.permutation(by_label[label])[:-1]:
            if taken >= wanted:
                break
            test.extend(members[str(group)])
            taken += len(members[str(group)])
    training = sorted(set(range(len(labels))) - set(test))
    return require_sound(Sides(np.array(training, dtype=intp), np.array(sorted(test), dtype=intp)), labels, groups)


def require_sound(split: Sides, labels: Sequence[str], groups: Sequence[str]) -> Sides:
    """Return the split; PatientInTwoSplits or OneClassOnly where it is not one to learn from."""
    both = {groups[place] for place in split.training} & {groups[place] for place in split.test}
    if both:
        raise PatientInTwoSplits(f"{min(both)} is on both sides of the split: keep it on one")
    if len({labels[place] for place in split.training}) < 2:  # noqa: PLR2004 - one class leaves nothing to decide
        raise OneClassOnly("all pictures to learn from have one label: add another class")
    return split


def wanted_counts(training: NDArray[intp], labels: Sequence[str], amount: Amount) -> dict[str, int]:
    """Return how many pictures of each label an amount means: every label keeps its part, and at least one."""
    counts = Counter(labels[place] for place in training)
    if amount.shots is not None:
        return {label: min(amount.shots, count) for label, count in sorted(counts.items())}
    part = (amount.share or 100.0) / 100.0
    return {label: max(1, round(count * part)) for label, count in sorted(counts.items())}


def draw(
    pool: NDArray[intp], labels: Sequence[str], groups: Sequence[str], *, wanted: Mapping[str, int], seed: int
) -> NDArray[intp]:
    """Draw the wanted number of pictures of each label.

    Patients are gone through in turn, so that a second picture of one comes only when every patient gave one: that
    is how a clinician chooses examples.
    """
    rng = np.random.default_rng([seed, 2])
    chosen: list[int] = []
    for label, count in sorted(wanted.items()):
        places = [int(place) for place in pool if labels[place] == label]
        order = _patients_in_turn([places[at] for at in rng.permutation(len(places))], groups)
        chosen.extend(order[:count])
    return np.array(sorted(chosen), dtype=intp)


def thinned(pool: NDArray[intp], marked: NDArray[bool_], *, kept: float, seed: int) -> NDArray[intp]:
    """Leave out all but a part ``kept`` (0..1) of the marked pictures of a pool."""
    rng = np.random.default_rng([seed, 5])
    inside = rng.permutation(pool[marked[pool]])
    return np.sort(np.concatenate([pool[~marked[pool]], inside[: round(kept * len(inside))]]))


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
