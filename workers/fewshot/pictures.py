"""A folder of labelled pictures: ``images.csv`` names each with its label, and where known patient, mask and sex."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from workers.errors import LabelsMissing, TrainingDataMissing, UnreadablePicture
from workers.fewshot.contracts import Mask, Picture

LIST_NAME = "images.csv"
LABEL_COLUMNS = ("class", "label")
PATIENT_COLUMNS = ("patient", "person", "subject")
CLUSTER_COLUMNS = ("cluster", "group")
TRAIT_COLUMNS = ("sex", "age_band", "site")
_MOST_PIXELS = 64_000_000
_HASH_SIDE = 16


@dataclass(frozen=True, slots=True)
class PictureSource:
    """A folder to read; ``label`` is that of every picture where the list has no label column."""

    folder: Path
    label: str | None = None

    @classmethod
    def parsed(cls, text: str) -> PictureSource:
        """Read ``FOLDER`` or ``FOLDER=LABEL``."""
        folder, _, label = text.partition("=")
        return cls(Path(folder), label or None)


@dataclass(frozen=True, slots=True)
class LabelledPicture:
    """One row: what it is called, what it shows, whose it is."""

    name: str
    path: Path
    mask_path: Path | None
    label: str
    group: str
    """Patient, or cluster of look-alikes; unique to the picture where the list names neither."""
    patient: str | None
    """Only a true patient identity can be compared between two folders."""
    traits: Mapping[str, str]

    def read(self) -> Picture:
        """Decode the picture as RGB uint8 ``[y, x, 3]``."""
        return np.asarray(_opened(self.path, self.name).convert("RGB"))

    def read_mask(self) -> Mask | None:
        """Decode the mask as bool ``[y, x]``; None where there is none."""
        if self.mask_path is None:
            return None
        return np.asarray(_opened(self.mask_path, f"the mask of {self.name}").convert("L")) > 0

    def digest(self) -> str:
        """Give the SHA-256 of the picture's pixels, so that a copy in another file format is still found."""
        pixels = self.read()
        return hashlib.sha256(f"{pixels.shape}".encode() + pixels.tobytes()).hexdigest()


def read_pictures(sources: Sequence[PictureSource]) -> list[LabelledPicture]:
    """Read the lists of several folders as one; names carry the folder.

    Raises TrainingDataMissing for a folder without a list, LabelsMissing and UnreadablePicture with the row's name.
    """
    return [row for source in sources for row in _read_list(source)]


def difference_hash(picture: Picture) -> str:
    """Return a difference hash as 128 hex digits: pictures that look the same differ in few bits (``look_alikes``).

    Each bit says whether a cell of a small grey copy is brighter than its neighbour, along the rows and the columns.
    """
    grey = Image.fromarray(picture).convert("L")
    wide, tall = (
        np.asarray(grey.resize(size, Image.Resampling.BOX), dtype=np.int16)
        for size in ((_HASH_SIDE + 1, _HASH_SIDE), (_HASH_SIDE, _HASH_SIDE + 1))
    )
    bits = np.concatenate([(wide[:, 1:] > wide[:, :-1]).ravel(), (tall[1:] > tall[:-1]).ravel()])
    return np.packbits(bits).tobytes().hex()


def _read_list(source: PictureSource) -> list[LabelledPicture]:
    place = source.folder / LIST_NAME
    try:
        with place.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TrainingDataMissing(f"{place} cannot be read: name a folder that holds {LIST_NAME}") from error
    if not rows or "image" not in rows[0]:
        raise TrainingDataMissing(f"{place} needs a header with a column image, and at least one row")
    label_column = _first(rows[0], LABEL_COLUMNS)
    if label_column is None and source.label is None:
        known = " or ".join(LABEL_COLUMNS)
        raise LabelsMissing(f"{place} has no column {known}: add one, or write {source.folder.name}=LABEL")
    return [_row(source, row, label_column) for row in rows]


def _row(source: PictureSource, row: Mapping[str, str], label_column: str | None) -> LabelledPicture:
    name = f"{source.folder.name}/{row['image']}"
    label = (row[label_column] or "").strip() if label_column else source.label
    if not label:
        raise LabelsMissing(f"{name} has no label in {LIST_NAME}")
    path, mask = source.folder / row["image"], row.get("mask")
    if not path.is_file():
        raise UnreadablePicture(f"{name} is listed but not there")
    patient, cluster = (_value(row, columns) for columns in (PATIENT_COLUMNS, CLUSTER_COLUMNS))
    group = f"{source.folder.name}:{patient or cluster or row['image']}"
    traits = {column: row[column].strip() for column in TRAIT_COLUMNS if (row.get(column) or "").strip()}
    return LabelledPicture(name, path, source.folder / mask if mask else None, label, group, patient, traits)


def _first(row: Mapping[str, str], columns: Sequence[str]) -> str | None:
    return next((column for column in columns if column in row), None)


def _value(row: Mapping[str, str], columns: Sequence[str]) -> str | None:
    column = _first(row, columns)
    return (row[column] or "").strip() or None if column else None


def _opened(path: Path, name: str) -> Image.Image:
    try:
        with Image.open(path) as picture:
            if picture.width * picture.height > _MOST_PIXELS:
                raise UnreadablePicture(f"{name} has {picture.width} x {picture.height} pixels: too many")
            return _eight_bit(picture)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UnreadablePicture(f"{name} cannot be decoded: replace the file or take it off the list") from error


def _eight_bit(picture: Image.Image) -> Image.Image:
    """Load the pixels; sixteen-bit grey is stretched to eight between its extremes."""
    if picture.mode not in {"I", "I;16", "I;16B", "I;16L", "F"}:
        picture.load()
        return picture.copy()
    values = np.asarray(picture, dtype=np.float64)
    low, high = float(values.min()), float(values.max())
    return Image.fromarray(np.rint((values - low) / max(high - low, 1e-12) * 255).astype(np.uint8))
