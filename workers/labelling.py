"""Label the lesions of a volume with the few-shot classifier, and keep its saliency maps."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from numpy import bool_
from numpy.typing import NDArray

from storage import arrays
from storage.domain import Algorithm, Classification, Finding, Presence, Volume
from storage.objects import ObjectStore
from workers.lesions import Lesions


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
    """Chooses the classifier of a volume."""

    def for_volume(self, volume: Volume) -> Classifier | None:
        """Return the one that holds now for a volume's kind, or None where there is none."""
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
    prediction = given.prediction
    if prediction is not None and given.saliency is not None:
        prediction = replace(prediction, saliency=arrays.save_saliency(objects, given.saliency))
    return replace(
        finding,
        label=given.label,
        label_probability=given.probability,
        abstained=given.abstained,
        prediction=prediction,
    )
