"""The starter set as a file: embeddings with labels and patients of a public collection, nothing of an image."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy import float32, uint8
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from storage.fewshot.splits import Split
from workers.errors import WeightsMismatch
from workers.fewshot import focus
from workers.weights import Manifest, verify, write_manifest

FOLDER = "classification-support-brain-flair"
VERSION = "2"
_FILE = "support.safetensors"
_PATIENTS = "patients.json"
_LICENCE = "CC-BY-NC-SA-4.0"


@dataclass(frozen=True, slots=True)
class Traits:
    """What is recorded of a patient; empty text stands for «not recorded»."""

    sex: str = ""
    age_band: str = ""
    site: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One region: whose it is, what it shows, and its vector float32 ``[d]``."""

    patient: str
    label: str
    embedding: NDArray[float32]
    traits: Traits = Traits()


def write_starter(samples: Sequence[Sample], folder: Path) -> Manifest:
    """Write embeddings, labels, patients and traits with a manifest; nothing of an image is kept."""
    folder.mkdir(parents=True, exist_ok=True)
    labels = sorted({sample.label for sample in samples})
    tensors: dict[str, NDArray[Any]] = {
        "embeddings": np.stack([sample.embedding for sample in samples]).astype(float32),
        "labels": np.array([labels.index(sample.label) for sample in samples], dtype=uint8),
        "patients": _text_array([sample.patient for sample in samples]),
        "names": _text_array(labels),
    }
    save_file(tensors, folder / _FILE, metadata={"mode": focus.MODE})
    traits = {sample.patient: asdict(sample.traits) for sample in samples}
    (folder / _PATIENTS).write_text(json.dumps(traits, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return write_manifest(folder, name=FOLDER, version=VERSION, licence=_LICENCE)


def read_starter(folder: Path) -> list[Sample]:
    """Read a starter set; WeightsMismatch where a file is not the one that the manifest lists."""
    verify(folder)
    tensors = load_file(folder / _FILE)
    traits = json.loads((folder / _PATIENTS).read_text(encoding="utf-8"))
    names, patients = _texts(tensors["names"]), _texts(tensors["patients"])
    if not len(tensors["embeddings"]) == len(tensors["labels"]) == len(patients):
        raise WeightsMismatch(f"{_FILE} of {folder.name} contradicts itself: restore the folder")
    rows = zip(patients, tensors["labels"], tensors["embeddings"], strict=True)
    return [
        Sample(patient, names[int(label)], embedding, Traits(**traits[patient])) for patient, label, embedding in rows
    ]


def splits(samples: Sequence[Sample]) -> Mapping[str, Split]:
    """Give every patient a use: in the order of the digests of their names half support, a quarter each the others."""
    names = sorted({sample.patient for sample in samples}, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    bounds = (len(names) // 2, 3 * len(names) // 4)
    return {
        name: Split.SUPPORT if place < bounds[0] else Split.CALIBRATION if place < bounds[1] else Split.EVALUATION
        for place, name in enumerate(names)
    }


def _text_array(lines: Sequence[str]) -> NDArray[uint8]:
    return np.frombuffer("\n".join(lines).encode(), dtype=uint8).copy()


def _texts(array: NDArray[uint8]) -> list[str]:
    return array.tobytes().decode().split("\n")
