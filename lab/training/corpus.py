"""The corpus: which folders a foundation model is trained on, what their slices show, and how often each is drawn."""

from __future__ import annotations

import csv
import hashlib
import tomllib
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from lab.training import slices
from lab.training.slices import HEAD_MR, SliceSet
from phantom.head import head_phantom
from workers.errors import TrainingDataMissing
from workers.segmentation.prompts import Subject

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pydicom import Dataset

CORPUS_FILE = Path(__file__).with_name("corpus.toml")
PHANTOM_SEED = 10_000
"""Seed of the first training phantom; tests and demonstrations draw theirs from below."""
HELD_BACK_PARTS = 2
"""Of collections without a split of their own one half, by the digest of the image's name, is kept out."""


class Layout(StrEnum):
    """How a source's folder is laid out."""

    STACKS = "stacks"
    """``PATIENT.npz`` with ``flair`` and ``mask``: tumour-free slices of the training patients."""
    IMAGES = "images"
    """``images.csv`` with a column ``image``: single pictures, all of them taken for free of tumour."""
    DICOM = "dicom"
    """One DICOM series, a file per slice."""


@dataclass(frozen=True, slots=True)
class Source:
    """One folder of the corpus. ``where`` keeps only the rows of ``images.csv`` with these values."""

    folder: str
    layout: Layout
    subject: Subject
    share: float
    where: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Corpus:
    """What a run is trained on; ``phantoms`` healthy head phantoms are drawn beside the sources."""

    root: Path
    sources: tuple[Source, ...]
    phantoms: int
    phantom_share: float


def read(path: Path, root: Path, *, phantoms: int) -> Corpus:
    """Read a corpus description (TOML) whose folders lie under ``root``.

    Raises TrainingDataMissing where it cannot be read.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        sources = tuple(_source(entry) for entry in content["source"])
        return Corpus(root, sources, phantoms, float(content.get("phantom_share", 0.0)))
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise TrainingDataMissing(f"the corpus description {path.name} cannot be read: {error}") from error


def _source(entry: dict[str, Any]) -> Source:
    subject = Subject(entry["modality"], entry["organ"])
    where = {str(key): str(value) for key, value in entry.get("where", {}).items()}
    return Source(entry["folder"], Layout(entry["layout"]), subject, float(entry["share"]), where)


def single(cases: Path, *, phantoms: int) -> Corpus:
    """Make a corpus of one folder of stacks, and phantoms."""
    source = Source(cases.name, Layout.STACKS, HEAD_MR, 1.0)
    return Corpus(cases.parent, (source,), phantoms, 0.1)


def load(corpus: Corpus) -> SliceSet:
    """Read every source; raises TrainingDataMissing that names the folder where one is not there."""
    sets = [_LOADERS[source.layout](corpus.root, source) for source in corpus.sources]
    shown = [
        loaded.showing(source.subject, share=source.share) for loaded, source in zip(sets, corpus.sources, strict=True)
    ]
    drawn = _phantoms(corpus.phantoms)
    if drawn:
        shown.append(reduce(SliceSet.joined, drawn).showing(HEAD_MR, share=corpus.phantom_share))
    return reduce(SliceSet.joined, shown)


def _phantoms(count: int) -> list[SliceSet]:
    phantoms = (head_phantom(seed=PHANTOM_SEED + index, lesion=False) for index in range(count))
    return [
        slices.from_stack(phantom.voxels, f"phantom {index}", pixel_mm=phantom.geometry.spacing_mm[1:])
        for index, phantom in enumerate(phantoms)
    ]


def _stacks(root: Path, source: Source) -> SliceSet:
    return slices.load(root / source.folder)


def _images(root: Path, source: Source) -> SliceSet:
    folder = root / source.folder
    try:
        with (folder / "images.csv").open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if source.where.items() <= row.items()]
        names = [row["image"] for row in rows if _is_for_training(row["image"])]
        pictures = [np.asarray(Image.open(folder / name).convert("L"), dtype=np.float32) for name in names]
    except (OSError, KeyError) as error:
        raise TrainingDataMissing(f"{source.folder}: its images.csv or a picture cannot be read: {error}") from error
    if not pictures:
        raise TrainingDataMissing(f"{source.folder}: images.csv names no picture for training")
    sets = [slices.from_stack(picture[None], name) for picture, name in zip(pictures, names, strict=True)]
    return _at_mid_height(reduce(SliceSet.joined, sets))


def _is_for_training(name: str) -> bool:
    return hashlib.sha256(name.encode()).digest()[0] % HELD_BACK_PARTS == 0


def _dicom(root: Path, source: Source) -> SliceSet:
    folder = root / source.folder
    try:
        datasets = [dcmread(path) for path in sorted(folder.iterdir()) if path.is_file()]
        datasets.sort(key=lambda dataset: float(dataset.ImagePositionPatient[2]))
        voxels = np.stack([_rescaled(dataset) for dataset in datasets])
        rows_mm, columns_mm = (float(value) for value in datasets[0].PixelSpacing)
    except (OSError, InvalidDicomError, AttributeError, IndexError, ValueError) as error:
        raise TrainingDataMissing(f"{source.folder}: no readable DICOM series: {error}") from error
    modality = str(datasets[0].Modality)
    return _at_mid_height(slices.from_stack(voxels, source.folder, pixel_mm=(rows_mm, columns_mm), modality=modality))


def _rescaled(dataset: Dataset) -> NDArray[np.float32]:
    slope, intercept = float(dataset.get("RescaleSlope", 1)), float(dataset.get("RescaleIntercept", 0))
    return np.asarray(dataset.pixel_array, dtype=np.float32) * np.float32(slope) + np.float32(intercept)


def _at_mid_height(loaded: SliceSet) -> SliceSet:
    """Return the slices as lying in the middle of a stack: what is no head has no ends that are drawn differently."""
    return replace(loaded, heights=np.full(len(loaded), 0.5, np.float32))


_LOADERS = {Layout.STACKS: _stacks, Layout.IMAGES: _images, Layout.DICOM: _dicom}
