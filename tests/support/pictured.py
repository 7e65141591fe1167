"""Analyses with the pictures that a worker draws of them, to write results of."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicom_gateway.objects.identity import part10
from storage.domain import Analysis
from storage.objects import ObjectStore
from storage.volumes import Geometry, Volume
from tests.support.flat_sources import FlatSource
from tests.support.sources import SourceStudy
from workers.pictures import draw_overlays

_PICTURES = 3


def pictured(source: SourceStudy | FlatSource, labels: NDArray[np.uint8], objects: ObjectStore) -> Analysis:
    """Return an analysis that found what ``labels`` shows, with pictures of up to three slices."""
    return with_pictures(source.analysis(labels), labels, objects, spacing=_spacing(source))


def with_pictures(
    analysis: Analysis,
    labels: NDArray[np.uint8],
    objects: ObjectStore,
    *,
    spacing: tuple[float, float, float] = (3.0, 1.0, 1.0),
    organs: NDArray[np.uint8] | None = None,
) -> Analysis:
    """Return an analysis with the pictures that are drawn of its lesions and organs."""
    voxels = np.random.default_rng(0).uniform(0, 400, labels.shape).astype(np.float32) + 600.0 * (labels > 0)
    geometry = Geometry((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), spacing)
    volume = Volume(voxels, geometry, "MR", "1.2", "1.3", None, analysis.frames)
    pictures = draw_overlays(volume, labels, organs=organs, most=_PICTURES)
    return replace(analysis, overlays=tuple(objects.put(picture) for picture in pictures))


def headers(source: SourceStudy | FlatSource) -> tuple[Dataset, ...]:
    """Return the headers that objects are built on."""
    return source.datasets if isinstance(source, SourceStudy) else (source.dataset,)


def saved(dataset: Dataset, path: Path) -> Path:
    """Write a built object to a file."""
    path.write_bytes(part10(dataset))
    return path


def _spacing(source: SourceStudy | FlatSource) -> tuple[float, float, float]:
    return source.layout.spacing if isinstance(source, SourceStudy) else (1.0, 0.5, 0.5)
