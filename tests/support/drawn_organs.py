"""Analyses of a multi-label model to write results on: two kidneys and a liver, with lesions or alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from storage.domain import Analysis, Code, Site, Structure
from storage.uids import deterministic_uid
from storage.volumes import LabelMap
from tests.support.sources import SourceStudy

LEFT, RIGHT = Code("7771000", "SCT", "Left"), Code("24028007", "SCT", "Right")
LIVER, KIDNEY = Site(Code("10200004", "SCT", "Liver")), Code("64033007", "SCT", "Kidney")
NAMES = ("liver", "kidney_left", "kidney_right")
SITES = (LIVER, Site(KIDNEY, LEFT), Site(KIDNEY, RIGHT))


def drawn_beside(study: SourceStudy, lesions: NDArray[np.uint8]) -> Analysis:
    """Return an analysis that found ``lesions``, or says that there is none, and drew three organs."""
    return _with_organs(study, study.analysis(lesions), lesions)


def drawn_alone(study: SourceStudy) -> Analysis:
    """Return an analysis that drew three organs and says nothing of lesions."""
    nothing = np.zeros(study.layout.shape, dtype=np.uint8)
    return _with_organs(study, study.analysis(nothing, findings=()), nothing)


def with_structures(analysis: Analysis, labels: NDArray[np.uint8], *, voxel_ml: float) -> Analysis:
    """Return an analysis with the organs of a grid of segment numbers, and its first lesion in the left kidney."""
    findings = tuple(
        replace(finding, site=SITES[1]) if finding.number == 1 else finding for finding in analysis.findings
    )
    first = sum(finding.number > 0 for finding in findings) + 1
    structures = tuple(
        Structure(
            number=first + place,
            name=name,
            site=site,
            volume_ml=float((labels == first + place).sum()) * voxel_ml,
            tracking_id=name,
            tracking_uid=deterministic_uid("test-tracking", analysis.series_instance_uid, name),
            lesions=(1,) if site == SITES[1] and first > 1 else (),
        )
        for place, (name, site) in enumerate(zip(NAMES, SITES, strict=True))
    )
    return replace(analysis, findings=findings, structures=structures, label_map=LabelMap(labels, analysis.frames))


def with_organ_numbers(lesions: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return segment numbers of lesions and, counted on from them, of three organs of lopsided shape around them."""
    labels = np.zeros(lesions.shape, dtype=np.uint8)
    first = int(lesions.max()) + 1
    middle = slice(0, 1) if len(labels) == 1 else slice(0, 5)
    labels[middle, 1:3, 1:19] = first
    labels[0, 11:13, 1:4] = first
    labels[middle, 2:12, 3:14] = first + 1
    labels[middle, 17:23, 2:9] = first + 2
    labels[lesions > 0] = lesions[lesions > 0]
    return labels


def _with_organs(study: SourceStudy, analysis: Analysis, lesions: NDArray[np.uint8]) -> Analysis:
    z, y, x = study.layout.spacing
    return with_structures(analysis, with_organ_numbers(lesions), voxel_ml=z * y * x / 1000.0)
