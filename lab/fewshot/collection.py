"""Collect a support set from annotated stacks: real lesions, and the same shapes put on tumour-free brain.

Only patients that may be trained on are used. Arrays are ``[z, y, x]``.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy import bool_, float32, uint8
from numpy.typing import NDArray
from safetensors.numpy import save_file
from scipy import ndimage

from lab.patients import Role, named
from lab.training.slices import patient_files, tumor_free
from storage.volumes import Geometry, Volume
from workers.fewshot.heads import Logistic
from workers.fewshot.lesion_views import LesionEncoder, largest_slices
from workers.fewshot.starter import FOLDER, PATIENTS_FILE, RECIPE, SUPPORT_FILE, Sample, Traits
from workers.weights import Manifest, write_manifest

TUMOUR = "tumour-like"
OTHER = "not-tumour"
_VERSION = "3"
_LICENCE = "CC-BY-NC-SA-4.0"
_GROUPS, _SLICES = 3, 3
_HEAD_LEVEL = 0.12
_TRIES = 60
_AGE_BANDS = ((40, "under 40"), (60, "40 to 59"))
_OLDEST = "60 and over"
# The spacing is not recorded; in the plane only its being square matters here.
_GEOMETRY = Geometry((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (5.0, 1.0, 1.0))


@dataclass(frozen=True, slots=True)
class Agreement:
    """Leave-one-patient-out result: how many examples of each class got their own label."""

    patients: int
    right: dict[str, int]
    total: dict[str, int]
    mean_probability: float
    """Mean probability given to the chosen label, to be compared with the accuracy."""

    @property
    def accuracy(self) -> float:
        """Share of all examples labelled rightly."""
        return sum(self.right.values()) / sum(self.total.values())


def collect(cases: Path, encoder: LesionEncoder, *, seed: int = 0) -> list[Sample]:
    """Embed up to three lesions' parts and three shapes elsewhere from every training patient of ``cases``."""
    samples, traits = [], _traits(cases)
    for index, path in enumerate(patient_files(cases, Role.TRAIN)):
        with np.load(path) as case:
            voxels, mask = case["flair"].astype(float32), case["mask"].astype(bool)
        patient = named(path.stem)
        volume = _volume(voxels, path.stem)
        rng = np.random.default_rng([seed, index])
        for label, regions in ((TUMOUR, _lesion_parts(mask)), (OTHER, _elsewhere(voxels, mask, rng))):
            for region in regions:
                view = encoder.view(volume, region)
                if view is not None:
                    samples.append(Sample(patient, label, view.vector, traits[patient]))
    return samples


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
    save_file(tensors, folder / SUPPORT_FILE, metadata={"embedding_key": RECIPE.embedding_key})
    traits = {sample.patient: asdict(sample.traits) for sample in samples}
    (folder / PATIENTS_FILE).write_text(json.dumps(traits, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return write_manifest(folder, name=FOLDER, version=_VERSION, licence=_LICENCE)


def leave_one_patient_out(samples: Sequence[Sample]) -> Agreement:
    """Label every example with a head that was fitted without its patient."""
    from sklearn.model_selection import LeaveOneGroupOut

    right, total, probabilities = {TUMOUR: 0, OTHER: 0}, {TUMOUR: 0, OTHER: 0}, []
    vectors, labels = np.stack([sample.embedding for sample in samples]), [sample.label for sample in samples]
    patients = [sample.patient for sample in samples]
    for rest, out in LeaveOneGroupOut().split(vectors, groups=patients):
        head = Logistic().fit(vectors[rest], [labels[at] for at in rest], [patients[at] for at in rest], seed=0)
        for at, given in zip(out, head.predict_proba(vectors[out]), strict=True):
            total[labels[at]] += 1
            right[labels[at]] += head.classes[int(given.argmax())] == labels[at]
            probabilities.append(float(given.max()))
    return Agreement(len(set(patients)), right, total, float(np.mean(probabilities)))


def _traits(cases: Path) -> dict[str, Traits]:
    """Read sex code, age band and site of every patient; the collection does not say what its sex codes mean."""
    with (cases / "patients.csv").open(encoding="utf-8", newline="") as file:
        return {
            row["patient"]: Traits(f"code {row['sex_code']}", _age_band(row["age"]), row["site"])
            for row in csv.DictReader(file)
        }


def _age_band(text: str) -> str:
    return next((name for limit, name in _AGE_BANDS if float(text) < limit), _OLDEST) if text else ""


def _volume(voxels: NDArray[float32], name: str) -> Volume:
    return Volume(voxels, _GEOMETRY, "MR", "", name, None, ())


def _lesion_parts(mask: NDArray[bool_]) -> Iterator[NDArray[bool_]]:
    """Yield the lesion's largest slices in groups of three, as an analyser would hand over one lesion."""
    order = largest_slices(mask, most=_GROUPS * _SLICES)
    for start in range(0, len(order), _SLICES):
        part = np.zeros_like(mask)
        chosen = order[start : start + _SLICES]
        part[chosen] = mask[chosen]
        yield part


def _elsewhere(voxels: NDArray[float32], mask: NDArray[bool_], rng: np.random.Generator) -> Iterator[NDArray[bool_]]:
    """Yield the same shapes at random places inside the head, on slices without tumour anywhere near."""
    heads = np.stack([_head(plane, float(np.percentile(voxels, 99.5))) for plane in voxels])
    free = np.nonzero(tumor_free(mask) & (heads.mean(axis=(1, 2)) > 0.1))[0]  # noqa: PLR2004 - a slice through the brain
    order = largest_slices(mask, most=_GROUPS)
    for source in order:
        placed = _placed(mask[source], heads, free, rng) if len(free) else None
        if placed is not None:
            yield placed


def _placed(
    shape: NDArray[bool_], heads: NDArray[bool_], free: NDArray[np.intp], rng: np.random.Generator
) -> NDArray[bool_] | None:
    """Put a shape on one tumour-free slice so that nearly all of it lies inside the head; None where it never fits."""
    rows, columns = np.nonzero(shape)
    rows, columns = rows - int(rows.mean()), columns - int(columns.mean())
    for _ in range(_TRIES):
        z = int(rng.choice(free))
        inside = np.argwhere(heads[z])
        y, x = inside[rng.integers(len(inside))]
        ys, xs = rows + y, columns + x
        fits = (ys >= 0) & (ys < shape.shape[0]) & (xs >= 0) & (xs < shape.shape[1])
        if fits.all() and heads[z][ys, xs].mean() > 0.95:  # noqa: PLR2004 - a sliver of background does not matter
            placed = np.zeros_like(heads)
            placed[z, ys, xs] = True
            return placed
    return None


def _head(plane: NDArray[float32], top: float) -> NDArray[bool_]:
    return np.asarray(ndimage.binary_fill_holes(ndimage.gaussian_filter(plane, 1.5) > _HEAD_LEVEL * top), dtype=bool)


def _text_array(lines: Sequence[str]) -> NDArray[uint8]:
    return np.frombuffer("\n".join(lines).encode(), dtype=uint8).copy()
