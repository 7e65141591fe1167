"""Grids in the object store: the label map of an analysis and the frames it lies on, as npz without pickles."""

from __future__ import annotations

import io
import json
from dataclasses import asdict

import numpy as np

from storage.domain import FrameRef, LabelMap
from storage.objects import ObjectStore


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
