"""The starter support set as a file: embeddings with their labels and patients, nothing of an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy import float32, uint8
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from workers.classification import focus
from workers.classification.prototypes import Example
from workers.errors import WeightsMismatch
from workers.weights import Manifest, verify, write_manifest

FOLDER = "classification-support-brain-flair"
VERSION = "1"
_FILE = "support.safetensors"
_LICENCE = "CC-BY-NC-SA-4.0"


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One example and the patient that it came from."""

    patient: str
    example: Example


def write_starter(samples: Sequence[Sample], folder: Path) -> Manifest:
    """Write the embeddings, labels and patients as safetensors with a manifest; nothing of an image is kept."""
    folder.mkdir(parents=True, exist_ok=True)
    labels = sorted({sample.example.label for sample in samples})
    tensors: dict[str, NDArray[Any]] = {
        "embeddings": np.stack([sample.example.embedding for sample in samples]).astype(float32),
        "labels": np.array([labels.index(sample.example.label) for sample in samples], dtype=uint8),
        "patients": _text_array([sample.patient for sample in samples]),
        "names": _text_array(labels),
    }
    save_file(tensors, folder / _FILE, metadata={"mode": focus.MODE})
    return write_manifest(folder, name=FOLDER, version=VERSION, licence=_LICENCE)


def read_starter(folder: Path) -> list[Sample]:
    """Read a starter set; WeightsMismatch where a file is not the one that the manifest lists."""
    verify(folder)
    tensors = load_file(folder / _FILE)
    names, patients = _texts(tensors["names"]), _texts(tensors["patients"])
    if not len(tensors["embeddings"]) == len(tensors["labels"]) == len(patients):
        raise WeightsMismatch(f"{_FILE} of {folder.name} contradicts itself: restore the folder")
    rows = zip(patients, tensors["labels"], tensors["embeddings"], strict=True)
    return [Sample(patient, Example(names[int(label)], embedding)) for patient, label, embedding in rows]


def _text_array(lines: Sequence[str]) -> NDArray[uint8]:
    return np.frombuffer("\n".join(lines).encode(), dtype=uint8).copy()


def _texts(array: NDArray[uint8]) -> list[str]:
    return array.tobytes().decode().split("\n")
