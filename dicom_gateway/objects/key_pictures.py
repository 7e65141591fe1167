"""The pictures that a worker drew of an analysis, each with the slice that it shows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy import uint8
from numpy.typing import NDArray

from storage import arrays
from storage.domain import Analysis
from storage.key_slices import areas_by_number, key_slices, largest_slices, widest_slices
from storage.objects import ObjectStore
from storage.volumes import FrameRef, LabelMap

_FEW = 3


@dataclass(frozen=True, slots=True, eq=False)
class KeyPicture:
    """One picture (PNG) without text, and what it shows.

    ``slice_index`` counts the frames of the analysis from 0, and is None where it is not known which one was drawn.
    ``is_heated``: where a classifier looked is laid over it in colours.
    """

    png: bytes
    slice_index: int | None
    is_heated: bool = False


def key_pictures(analysis: Analysis, objects: ObjectStore) -> tuple[KeyPicture, ...]:
    """Read the pictures of an analysis with their slices, in order; ObjectMissing, ObjectCorrupt."""
    pngs = [objects.get(digest) for digest in analysis.overlays]
    saliency = next((one.prediction.saliency for one in analysis.findings if one.prediction), None)
    if analysis.label_map is None and saliency is not None:
        slices = arrays.load_saliency(objects, saliency).slices
        drawn: list[tuple[int | None, bool]] = [(z, heated) for z in slices for heated in (False, True)]
    else:
        drawn = [(z, False) for z in key_slices(*_numbers(analysis), most=max(len(pngs), 1))]
    if len(drawn) != len(pngs):  # drawn by another rule than this one
        drawn = [(None, False)] * len(pngs)
    return tuple(KeyPicture(png, z, heated) for png, (z, heated) in zip(pngs, drawn, strict=True))


def lesion_plane(analysis: Analysis, label_map: LabelMap, slice_index: int) -> NDArray[uint8]:
    """Return the numbers of the lesions alone in one slice, ``[y, x]``; 0 elsewhere."""
    plane = label_map.labels[slice_index]
    return np.where(plane <= _last_lesion(analysis), plane, uint8(0))


def key_frames(analysis: Analysis) -> tuple[FrameRef, ...]:
    """Return the frames that matter to who reads the study: those that pictures show, and each lesion's largest.

    In the order of the stack; none where there is no lesion, since nothing marks a frame then.
    """
    label_map = analysis.label_map
    if label_map is None or not _last_lesion(analysis):
        return ()
    areas = areas_by_number(label_map.labels)[:, 1 : _last_lesion(analysis) + 1]
    drawn = widest_slices(areas.sum(axis=1), most=len(analysis.overlays) or _FEW)
    return tuple(label_map.frames[z] for z in sorted({*drawn, *largest_slices(areas)}))


def _last_lesion(analysis: Analysis) -> int:
    """Return the highest number of a lesion; those of organs lie above."""
    return max((finding.number for finding in analysis.findings), default=0)


def _numbers(analysis: Analysis) -> tuple[NDArray[uint8], NDArray[uint8]]:
    """Return the numbers of lesions and of organs on the frames of an analysis."""
    if analysis.label_map is None:
        nothing = np.zeros((len(analysis.frames), 1, 1), uint8)
        return nothing, nothing
    labels = analysis.label_map.labels
    if not analysis.structures:
        return labels, np.zeros((len(labels), 1, 1), uint8)
    lesions = np.where(labels <= _last_lesion(analysis), labels, uint8(0))
    return lesions, labels - lesions
