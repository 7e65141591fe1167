"""Pictures that are the same, or look the same, on two sides of a split: a score would then be memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lab.errors import DuplicateAcrossSplits, PatientInTwoSplits
from storage.fewshot.look_alikes import are_alike
from workers.fewshot.pictures import LabelledPicture, difference_hash


@dataclass(frozen=True, slots=True)
class Fingerprints:
    """What pictures are compared by: digests of their pixels and difference hashes, in the order of the pictures."""

    digests: tuple[str, ...]
    hashes: tuple[int, ...]

    @classmethod
    def of(cls, pictures: Sequence[LabelledPicture]) -> Fingerprints:
        """Read every picture once."""
        pixels = [(one.digest(), int(difference_hash(one.read()), 16)) for one in pictures]
        return cls(tuple(digest for digest, _ in pixels), tuple(known for _, known in pixels))


def require_apart(training: Sequence[LabelledPicture], test: Sequence[LabelledPicture]) -> None:
    """Raise PatientInTwoSplits or DuplicateAcrossSplits that names the first item found on both sides."""
    ours = {one.patient: one.name for one in training if one.patient}
    for one in test:
        if one.patient in ours:
            raise PatientInTwoSplits(f"{one.name} and {ours[one.patient]} are of one patient: keep them on one side")
    for here, there, why in duplicates(Fingerprints.of(training), Fingerprints.of(test)):
        raise DuplicateAcrossSplits(f"{test[there].name} {why} {training[here].name}: keep them on one side")


def duplicates(first: Fingerprints, second: Fingerprints) -> Iterator[tuple[int, int, str]]:
    """Yield places in both that hold the same picture, with how they were found: the same pixels first."""
    known = {digest: place for place, digest in enumerate(first.digests)}
    same = [(known[digest], place) for place, digest in enumerate(second.digests) if digest in known]
    for here, there in same:
        yield here, there, "has the same pixels as"
    for here, own in enumerate(first.hashes):
        for there, other in enumerate(second.hashes):
            if are_alike(own, other):
                yield here, there, "looks the same as"


def joined_groups(pictures: Sequence[LabelledPicture]) -> list[str]:
    """Return each picture's group, with groups that share a picture or a look-alike made one."""
    prints = Fingerprints.of(pictures)
    leader = {one.group: one.group for one in pictures}

    def find(group: str) -> str:
        while leader[group] != group:
            group = leader[group]
        return group

    for here, there, _ in duplicates(prints, prints):
        first, second = sorted((find(pictures[here].group), find(pictures[there].group)))
        leader[second] = first
    return [find(one.group) for one in pictures]
