"""Label a whole image or series, without a segmentation: the answer of a few-shot adapter as a finding.

Arrays are ``[z, y, x]``; an image has one slice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from storage import arrays
from storage.domain import Algorithm, Classification, Code, Finding, Presence
from storage.objects import ObjectStore
from storage.uids import deterministic_uid
from storage.volumes import Extent, Volume
from workers.errors import TaskNotPromoted, UnsuitableVolume

IMAGING_FINDING = Code("365853002", "SCT", "Imaging finding")


@dataclass(frozen=True, slots=True, eq=False)
class ImageLabel:
    """What an adapter says of a whole image, and how far it lies beyond the support.

    ``out_of_distribution`` is 0 for an image no farther from the support cases than those are from each other, 1 at
    twice that distance, and grows without bound.
    """

    classification: Classification
    out_of_distribution: float

    @property
    def case_score(self) -> float:
        """The calibrated probability of the label, 0 where the adapter abstains."""
        return self.classification.probability or 0.0


class ImageClassifier(Protocol):
    """Labels whole images."""

    @property
    def algorithm(self) -> Algorithm:
        """Encoder, support set and parameters that give the labels."""
        ...

    def classify_image(self, volume: Volume) -> ImageLabel:
        """Return the label of an image, or of the slice that stands for a series."""
        ...


class ImageClassifiers(Protocol):
    """Chooses the classifier of a whole image."""

    def for_image(self, volume: Volume, *, task: str | None = None) -> ImageClassifier | None:
        """Return the one of a task that holds now, or without a task the one for the volume's kind, if any.

        TaskNotPromoted or TaskUnsuitable where the named task has none for whole images.
        """
        ...


def label_image(classifiers: ImageClassifiers, volume: Volume, *, task: str | None) -> ImageLabel:
    """Return the label of a whole image or series, with conformal set, nearest cases and saliency, or the abstention.

    ``task`` names the few-shot task; None takes the one that fits the images. TaskNotPromoted, TaskUnsuitable;
    UnsuitableVolume where there is nothing to see.
    """
    _check(volume)
    classifier = classifiers.for_image(volume, task=task)
    if classifier is None:
        raise TaskNotPromoted(
            f"no adapter that labels whole {volume.modality} images is promoted: promote one fitted with --prompt none,"
            " or name its task in the route"
        )
    return classifier.classify_image(volume)


def image_finding(label: ImageLabel, volume: Volume, objects: ObjectStore, *, input_sha256: str) -> Finding:
    """Return a label as the one finding of its image, number 0; the saliency map goes to the object store.

    Confidence is the label's probability, 0 where the adapter abstains. The finding has no place and no size.
    """
    given, whole = label.classification, "image" if len(volume.voxels) == 1 else "series"
    return Finding(
        number=0,
        presence=Presence.ASSESSED,
        concept=IMAGING_FINDING,
        confidence=label.case_score,
        volume_ml=0.0,
        longest_diameter_mm=0.0,
        tracking_id=f"Whole {whole}",
        tracking_uid=_tracking_uid(given.algorithm, volume, input_sha256),
        label=given.label,
        label_probability=given.probability,
        abstained=given.abstained,
        prediction=arrays.save_prediction(objects, given),
        extent=Extent.UNKNOWN,
    )


def _tracking_uid(algorithm: Algorithm, volume: Volume, input_sha256: str) -> str:
    return deterministic_uid(
        "tracking",
        volume.study_instance_uid,
        volume.series_instance_uid,
        input_sha256,
        algorithm.weights_sha256,
        algorithm.parameters,
        "whole",
    )


def _check(volume: Volume) -> None:
    if volume.voxels.ndim != 3 or not volume.voxels.size:  # noqa: PLR2004 - slices, rows, columns
        raise UnsuitableVolume(f"the volume has shape {volume.voxels.shape}: expected slices, rows and columns")
    low, high = float(volume.voxels.min()), float(volume.voxels.max())
    if not np.isfinite([low, high]).all():
        raise UnsuitableVolume("the image holds values that are not finite: send it again from its source")
    if low == high:
        raise UnsuitableVolume(f"every pixel has the value {low:g}: there is nothing to see")
