"""Grids in the object store, as npz without pickles: the label map of an analysis with its frames, attention maps."""

from __future__ import annotations

import io
import json
from dataclasses import asdict, replace

import numpy as np
from numpy import uint8
from numpy.typing import NDArray

from storage.domain import Classification
from storage.explanations import Prediction, SaliencyMap
from storage.objects import ObjectStore
from storage.volumes import FrameRef, LabelMap


def save_grid(objects: ObjectStore, frames: tuple[FrameRef, ...], label_map: LabelMap | None) -> str:
    """Store the frames and, where something was found, the labels uint8 ``[z, y, x]``; return the digest."""
    buffer = io.BytesIO()
    names = np.frombuffer(json.dumps([asdict(frame) for frame in frames]).encode(), dtype=np.uint8)
    arrays = {"frames": names} if label_map is None else {"frames": names, "labels": label_map.labels}
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return objects.put(buffer.getvalue())


def load_grid(objects: ObjectStore, digest: str) -> tuple[tuple[FrameRef, ...], LabelMap | None]:
    """Return what ``save_grid`` stored; ObjectMissing or ObjectCorrupt where the store no longer holds it."""
    with np.load(io.BytesIO(objects.get(digest)), allow_pickle=False) as archive:
        frames = tuple(FrameRef(**entry) for entry in json.loads(archive["frames"].tobytes()))
        labels = archive["labels"] if "labels" in archive.files else None
    return frames, None if labels is None else LabelMap(labels, frames)


def save_attention(objects: ObjectStore, attention: NDArray[uint8]) -> str:
    """Store an attention map ``[z, y, x]``, 255 for full attention; return the digest."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, attention=attention)
    return objects.put(buffer.getvalue())


def load_attention(objects: ObjectStore, digest: str) -> NDArray[uint8]:
    """Return what ``save_attention`` stored; ObjectMissing or ObjectCorrupt where the store no longer holds it."""
    with np.load(io.BytesIO(objects.get(digest)), allow_pickle=False) as archive:
        return np.asarray(archive["attention"], dtype=uint8)


def save_saliency(objects: ObjectStore, saliency: SaliencyMap) -> str:
    """Store a saliency map, in half precision, and return the digest."""
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        allow_pickle=False,
        slices=np.array(saliency.slices, dtype=np.int32),
        values=saliency.values.astype(np.float16),
    )
    return objects.put(buffer.getvalue())


def load_saliency(objects: ObjectStore, digest: str) -> SaliencyMap:
    """Return what ``save_saliency`` stored; ObjectMissing or ObjectCorrupt where the store no longer holds it."""
    with np.load(io.BytesIO(objects.get(digest)), allow_pickle=False) as archive:
        return SaliencyMap(tuple(int(z) for z in archive["slices"]), archive["values"].astype(np.float32))


def save_prediction(objects: ObjectStore, given: Classification) -> Prediction | None:
    """Store the saliency map of a classification, and return its prediction, which names the map."""
    if given.prediction is None or given.saliency is None:
        return given.prediction
    return replace(given.prediction, saliency=save_saliency(objects, given.saliency))
