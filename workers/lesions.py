"""Find the connected lesions of a mask, measure them, and have the few-shot classifier label them.

Arrays are ``[z, y, x]``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy import bool_, float32, float64, uint8
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import ConvexHull
from scipy.spatial.distance import pdist

from storage import arrays
from storage.domain import Algorithm, Classification, Code, Extent, Finding, Geometry, Presence, Segmentation, Volume
from storage.objects import ObjectStore
from storage.uids import deterministic_uid

LESION = Code("52988006", "SCT", "Lesion")
MOST_LESIONS = 20
_TOUCHING = np.ones((3, 3, 3), dtype=bool)
_HULL_FROM_POINTS = 400


@dataclass(frozen=True, slots=True, eq=False)
class Lesions:
    """Labels uint8 ``[z, y, x]`` (0 is background), one finding for each label in order, and what was merged."""

    labels: NDArray[uint8]
    findings: tuple[Finding, ...]
    merged: int


def find_lesions(segmentation: Segmentation, volume: Volume, *, input_sha256: str) -> Lesions:
    """Return the lesions of the mask, the largest first; one ABSENT finding where the mask is empty.

    Voxels that touch by a face, edge or corner belong together. Beyond MOST_LESIONS the smallest ones share the last
    number, so that no voxel of the mask is lost; ``merged`` counts them. A finding is measured only as far as
    ``volume.extent`` is known: millilitres in a volume, square millimetres in a calibrated plane, else nothing.
    """
    labels, count = number_components(segmentation.mask)
    if count == 0:
        return Lesions(labels, (_absent(segmentation, volume, input_sha256),), 0)
    findings = tuple(
        _present(number, _box_of(labels, number, place), segmentation, volume, input_sha256=input_sha256)
        for number, place in enumerate(ndimage.find_objects(labels), start=1)
    )
    return Lesions(labels, _with_confidence(findings, labels, segmentation), max(0, count - MOST_LESIONS))


def number_components(mask: NDArray[bool_], *, most: int = MOST_LESIONS) -> tuple[NDArray[uint8], int]:
    """Number the components of a mask by falling size; those after ``most`` share its number. Return their count."""
    labels = np.zeros(mask.shape, dtype=uint8)
    inside = bounding_box(mask)
    if inside is None:
        return labels, 0
    # Slice by slice and within the box of the mask: numbers of components take four bytes a voxel, counting them eight.
    components, count = ndimage.label(mask[inside], structure=_TOUCHING)
    sizes = np.zeros(count + 1, dtype=np.intp)
    for plane in components:
        sizes += np.bincount(plane.ravel(), minlength=count + 1)
    sizes = sizes[1:]
    # A stable sort keeps equal sizes in scan order, so the same mask always gets the same numbers.
    order = np.argsort(-sizes, kind="stable")
    numbers = np.zeros(count + 1, dtype=uint8)
    numbers[order + 1] = np.minimum(np.arange(1, count + 1), most)
    for target, plane in zip(labels[inside], components, strict=True):
        target[:] = numbers[plane]
    return labels, int(count)


def bounding_box(mask: NDArray[bool_]) -> tuple[slice, ...] | None:
    """Return the smallest box ``[z, y, x]`` that holds a mask, or None where it is empty."""
    slices = [np.flatnonzero(mask.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
    if not all(len(found) for found in slices):
        return None
    return tuple(slice(int(found[0]), int(found[-1]) + 1) for found in slices)


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


def _box_of(labels: NDArray[uint8], number: int, place: tuple[slice, ...]) -> _Box:
    return _Box(labels[place] == number, tuple(one.start for one in place))


def _present(number: int, box: _Box, segmentation: Segmentation, volume: Volume, *, input_sha256: str) -> Finding:
    mask = box.mask
    return Finding(
        number=number,
        presence=Presence.PRESENT,
        concept=LESION,
        confidence=segmentation.case_score,
        volume_ml=_volume_ml(mask, volume),
        longest_diameter_mm=0.0
        if volume.extent is Extent.UNKNOWN
        else longest_diameter_mm(mask, volume.geometry, start=box.start),
        tracking_id=f"Lesion {number}",
        tracking_uid=_tracking_uid(segmentation, volume, input_sha256, number),
        extent=volume.extent,
        area_mm2=_area_mm2(mask, volume),
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


def _absent(segmentation: Segmentation, volume: Volume, input_sha256: str) -> Finding:
    return Finding(
        number=0,
        presence=Presence.ABSENT,
        concept=LESION,
        confidence=1.0 - segmentation.case_score,
        volume_ml=0.0,
        longest_diameter_mm=0.0,
        tracking_id="No lesion",
        tracking_uid=_tracking_uid(segmentation, volume, input_sha256, 0),
        extent=volume.extent,
    )


def _with_confidence(
    findings: tuple[Finding, ...], labels: NDArray[uint8], segmentation: Segmentation
) -> tuple[Finding, ...]:
    """Return the findings with confidences: the case score for the highest mean score, a share of it for the others."""
    means = _mean_scores(segmentation.score_map, labels, len(findings))
    top = float(means.max())
    shares = means / top if top > 0 else np.ones_like(means)
    return tuple(
        replace(finding, confidence=min(1.0, max(0.0, segmentation.case_score * float(share))))
        for finding, share in zip(findings, shares, strict=True)
    )


def _mean_scores(score_map: NDArray[float32], labels: NDArray[uint8], count: int) -> NDArray[float64]:
    """Return the mean score under each label from 1, slice by slice: sums of a whole volume would take eight times it.

    Voxels are added one by one in the order of the volume, so the sums do not depend on how it is parted.
    """
    sums, sizes = np.zeros(count + 1), np.zeros(count + 1)
    for plane, scores in zip(labels, score_map, strict=True):
        inside = plane > 0
        if inside.any():
            np.add.at(sums, plane[inside], scores[inside].astype(float64))
            sizes += np.bincount(plane[inside], minlength=count + 1)
    return sums[1:] / sizes[1:]


def _tracking_uid(segmentation: Segmentation, volume: Volume, input_sha256: str, number: int) -> str:
    algorithm = segmentation.algorithm
    return deterministic_uid(
        "tracking",
        volume.study_instance_uid,
        volume.series_instance_uid,
        input_sha256,
        algorithm.weights_sha256,
        algorithm.parameters,
        str(number),
    )


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
