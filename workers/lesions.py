"""Find the connected lesions that were drawn, measure them, and have the few-shot classifier label them.

Arrays are ``[z, y, x]``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy import bool_, float64, uint8
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import ConvexHull
from scipy.spatial.distance import pdist

from storage import arrays
from storage.domain import Algorithm, Classification, Code, Finding, LabelRole, Presence, Segmentation, Site, Structure
from storage.objects import ObjectStore
from storage.uids import deterministic_uid
from storage.volumes import Extent, Geometry, Volume
from workers.components import MOST_LESIONS, number_kinds
from workers.structures import Organs, describe_structures, find_organs, hold_lesions, lay_under, site_of

LESION = Code("52988006", "SCT", "Lesion")
_MOST_NUMBERS = 255
_HULL_FROM_POINTS = 400


@dataclass(frozen=True, slots=True, eq=False)
class Lesions:
    """Segment numbers uint8 ``[z, y, x]`` (0 is background) of lesions and structures, and what they stand for.

    ``findings`` come first, by number, then ``structures``; ``merged`` counts the lesions that share the number of
    another. There is no finding at all where a model draws organs alone: it says nothing of lesions.
    """

    labels: NDArray[uint8]
    findings: tuple[Finding, ...]
    merged: int
    structures: tuple[Structure, ...] = ()

    @property
    def lesion_labels(self) -> NDArray[uint8]:
        """The numbers of the lesions alone."""
        return np.where(self.labels <= self._count, self.labels, uint8(0))

    @property
    def structure_labels(self) -> NDArray[uint8]:
        """The numbers of the structures alone."""
        return np.where(self.labels > self._count, self.labels, uint8(0))

    @property
    def _count(self) -> int:
        return max((finding.number for finding in self.findings), default=0)


@dataclass(frozen=True, slots=True, eq=False)
class _Kind:
    """Lesions of one label, or those of a plain mask: where they are, what they are, and the organ they are for."""

    mask: NDArray[bool_]
    concept: Code
    site: Site | None


@dataclass(frozen=True, slots=True, eq=False)
class _Case:
    """What a segmenter said of which volume, and the digest of what was read."""

    segmentation: Segmentation
    volume: Volume
    input_sha256: str

    @property
    def identity(self) -> tuple[str, ...]:
        """What the tracking UIDs of its lesions and structures follow from."""
        algorithm, volume = self.segmentation.algorithm, self.volume
        series = (volume.study_instance_uid, volume.series_instance_uid)
        return *series, self.input_sha256, algorithm.weights_sha256, algorithm.parameters


def find_lesions(segmentation: Segmentation, volume: Volume, *, input_sha256: str) -> Lesions:
    """Return the lesions that were drawn, the largest first, and the organs that were drawn beside them.

    One ABSENT finding where a model that looks for lesions drew none; no finding where it draws organs alone. Voxels
    that touch by a face, edge or corner belong together, where they have the same label. Beyond MOST_LESIONS the
    smallest ones share the last number, those of each label their own, so that no voxel is lost; ``merged`` counts
    them. A finding is measured only as far as ``volume.extent`` is known: millilitres in a volume, square millimetres
    in a calibrated plane, else nothing.
    """
    case = _Case(segmentation, volume, input_sha256)
    kinds = _kinds(segmentation)
    organs = find_organs(segmentation.labelled) if segmentation.labelled else None
    drawn = [kind for kind in kinds if kind.mask.any()]
    lesions = _number(case, drawn, room=_MOST_NUMBERS - (len(organs.entries) if organs else 0))
    if kinds and not drawn:
        lesions = replace(lesions, findings=(_absent(case, kinds),))
    return lesions if organs is None else _among_organs(case, lesions, organs)


def _kinds(segmentation: Segmentation) -> list[_Kind]:
    """Return what a segmenter looks for; nothing where it draws organs alone."""
    if segmentation.labelled is None:
        return [_Kind(segmentation.mask, LESION, None)]
    grid = segmentation.labelled
    return [
        _Kind(grid.labels == entry.value, entry.concept, entry.site)
        for entry in grid.table
        if entry.role is LabelRole.LESION
    ]


def _number(case: _Case, drawn: Sequence[_Kind], *, room: int) -> Lesions:
    """Return the lesions alone; ``room`` is how many numbers the organs leave, at least one for each label."""
    if not drawn:
        return Lesions(np.zeros(case.segmentation.mask.shape, dtype=uint8), (), 0)
    most = min(max(MOST_LESIONS, len(drawn)), room)
    numbered = number_kinds([kind.mask for kind in drawn], most=most)
    boxes = ndimage.find_objects(numbered.labels)
    findings = tuple(
        _present(case, number, _Box.of(numbered.labels, number, box), drawn[kind])
        for number, (kind, box) in enumerate(zip(numbered.kinds, boxes, strict=True), start=1)
    )
    confident = _with_confidence(findings, numbered.labels, case.segmentation)
    return Lesions(numbered.labels, confident, numbered.count - len(findings))


def _among_organs(case: _Case, lesions: Lesions, organs: Organs) -> Lesions:
    """Return the lesions with the organs that they lie in, and the organs numbered after them."""
    touched = organs.touching(lesions.labels)
    findings = tuple(
        replace(finding, site=site_of(finding.site, touched[finding.number])) if finding.number else finding
        for finding in lesions.findings
    )
    held = hold_lesions(organs, {one.number: one.site for one in findings if one.number}, touched)
    return Lesions(
        labels=lay_under(lesions.labels, organs),
        findings=findings,
        merged=lesions.merged,
        structures=describe_structures(organs, lesions.labels, held, volume=case.volume, identity=case.identity),
    )


def longest_diameter_mm(mask: NDArray[bool_], geometry: Geometry, *, start: tuple[int, ...] = (0, 0, 0)) -> float:
    """Return the greatest distance between two voxel centres of a lesion, in space, plus one pixel's width.

    The mask may be the lesion's box alone; ``start`` says then where in the volume that begins.
    """
    edge = mask & ~ndimage.binary_erosion(mask)
    points = (np.argwhere(edge) + np.asarray(start)) * np.asarray(geometry.spacing_mm, dtype=float64)
    width = float(min(geometry.spacing_mm[1:]))
    if len(points) < 2:  # noqa: PLR2004 - one voxel is as wide as itself
        return width
    if len(points) > _HULL_FROM_POINTS:
        # The two farthest points lie on the convex hull; QJ lets flat lesions (one slice) have one too.
        points = points[ConvexHull(points, qhull_options="QJ").vertices]
    return float(pdist(points).max()) + width


@dataclass(frozen=True, slots=True, eq=False)
class _Box:
    """The part of a volume that a lesion lies in: its mask there, and where that begins."""

    mask: NDArray[bool_]
    start: tuple[int, ...]

    @classmethod
    def of(cls, labels: NDArray[uint8], number: int, place: tuple[slice, ...]) -> _Box:
        """Return the box of one number."""
        return cls(labels[place] == number, tuple(one.start for one in place))


def _present(case: _Case, number: int, box: _Box, kind: _Kind) -> Finding:
    volume, mask = case.volume, box.mask
    return Finding(
        number=number,
        presence=Presence.PRESENT,
        concept=kind.concept,
        confidence=case.segmentation.case_score,
        volume_ml=_volume_ml(mask, volume),
        longest_diameter_mm=0.0
        if volume.extent is Extent.UNKNOWN
        else longest_diameter_mm(mask, volume.geometry, start=box.start),
        tracking_id=f"Lesion {number}",
        tracking_uid=_tracking_uid(case, number),
        extent=volume.extent,
        area_mm2=_area_mm2(mask, volume),
        site=kind.site,
    )


def _volume_ml(mask: NDArray[bool_], volume: Volume) -> float:
    """Return the volume of a lesion, or 0 where millimetres are not known in three directions."""
    return float(np.count_nonzero(mask)) * volume.geometry.voxel_ml if volume.extent is Extent.VOLUME else 0.0


def _area_mm2(mask: NDArray[bool_], volume: Volume) -> float:
    """Return the area of a lesion in a calibrated plane, or 0 for everything else."""
    if volume.extent is not Extent.AREA:
        return 0.0
    _, row_mm, column_mm = volume.geometry.spacing_mm
    return float(np.count_nonzero(mask)) * row_mm * column_mm


def _absent(case: _Case, kinds: Sequence[_Kind]) -> Finding:
    """Say that nothing was found of what was looked for, by its own name and place where it has but one."""
    concepts, sites = {kind.concept for kind in kinds}, {kind.site for kind in kinds}
    return Finding(
        number=0,
        presence=Presence.ABSENT,
        concept=concepts.pop() if len(concepts) == 1 else LESION,
        confidence=1.0 - case.segmentation.case_score,
        volume_ml=0.0,
        longest_diameter_mm=0.0,
        tracking_id="No lesion",
        tracking_uid=_tracking_uid(case, 0),
        extent=case.volume.extent,
        site=sites.pop() if len(sites) == 1 else None,
    )


def _with_confidence(
    findings: tuple[Finding, ...], labels: NDArray[uint8], segmentation: Segmentation
) -> tuple[Finding, ...]:
    """Return the findings with confidences: the case score for the highest mean score, a share of it for the others."""
    drawn = labels > 0
    numbers = [finding.number for finding in findings]
    means = np.atleast_1d(ndimage.mean(segmentation.score_map[drawn], labels=labels[drawn], index=numbers))
    top = float(means.max())
    shares = means / top if top > 0 else np.ones_like(means)
    return tuple(
        replace(finding, confidence=min(1.0, max(0.0, segmentation.case_score * float(share))))
        for finding, share in zip(findings, shares, strict=True)
    )


def _tracking_uid(case: _Case, number: int) -> str:
    return deterministic_uid("tracking", *case.identity, str(number))


class Classifier(Protocol):
    """Labels one lesion of a volume."""

    @property
    def algorithm(self) -> Algorithm:
        """Encoder, support set and parameters that give the labels."""
        ...

    def classify(self, volume: Volume, lesion: NDArray[bool_]) -> Classification:
        """Return the label of the lesion under a mask bool ``[z, y, x]``."""
        ...


class Classifiers(Protocol):
    """Chooses the classifier of a volume's lesions."""

    def for_volume(self, volume: Volume, *, task: str | None = None) -> Classifier | None:
        """Return the one that holds now for a volume's kind, or None where there is none.

        The one of a task where its name is given; TaskNotPromoted or TaskUnsuitable where that has none for lesions.
        """
        ...


def label_findings(
    classifier: Classifier | None, volume: Volume, lesions: Lesions, objects: ObjectStore
) -> tuple[Finding, ...]:
    """Return the findings with label, probability or reason for abstaining; saliency maps go to the object store."""
    if classifier is None:
        return lesions.findings
    return tuple(
        finding
        if finding.presence is Presence.ABSENT
        else _labelled(finding, classifier.classify(volume, lesions.labels == finding.number), objects)
        for finding in lesions.findings
    )


def _labelled(finding: Finding, given: Classification, objects: ObjectStore) -> Finding:
    return replace(
        finding,
        label=given.label,
        label_probability=given.probability,
        abstained=given.abstained,
        prediction=arrays.save_prediction(objects, given),
    )
