"""Single images listed in a table: a folder with ``images.csv`` and the files that it names."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from lab.cases import USUAL_SPACING_MM, LabelledCase, as_volume, matched
from lab.errors import UnreadableCase

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

TABLE_NAME = "images.csv"
PATIENT_COLUMNS = ("patient", "cluster")
"""The first of these that a table has tells whose image it is; ``cluster`` holds look-alikes together."""
_DEEP_MODES = frozenset({"I;16", "I;16B", "I", "F"})


@dataclass(frozen=True, slots=True)
class TableImage:
    """One row: an image file, its mask file (None: nothing to find on it), and whose image it is."""

    image: Path
    mask: Path | None
    patient: str
    modality: str

    @property
    def name(self) -> str:
        """Name of the image file without its ending."""
        return self.image.stem

    def read(self) -> LabelledCase:
        """Read both files as grey images; the pixel spacing of such files is not known."""
        image = _pixels(self.image)
        mask = np.zeros(image.shape, dtype=bool) if self.mask is None else _pixels(self.mask)
        voxels, marked = matched(image, mask, self.image.name)
        volume = as_volume(voxels, USUAL_SPACING_MM, modality=self.modality)
        return LabelledCase(self.name, volume, marked, self.patient, spacing_known=False)


def read_table(
    folder: Path, *, where: Iterable[tuple[str, str]], modality: str, masked: bool = True
) -> list[TableImage]:
    """List the rows whose columns have the wanted values; several values of one column are alternatives.

    A table that is not ``masked`` may lack the column of mask files. Raises UnreadableCase where it lacks another
    column, or names a file that is not below its folder.
    """
    try:
        with (folder / TABLE_NAME).open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            columns, rows = reader.fieldnames or (), list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UnreadableCase(f"{TABLE_NAME} of {folder.name} is not a readable table") from error
    wanted = list(where)
    for column in ("image", *(("mask",) if masked else ()), *(name for name, _ in wanted)):
        if column not in columns:
            raise UnreadableCase(f"{TABLE_NAME} of {folder.name} has no column {column}; it has {', '.join(columns)}")
    owner = next((name for name in PATIENT_COLUMNS if name in columns), None)
    return [
        TableImage(
            image=_inside(folder, row["image"]),
            mask=_inside(folder, row["mask"]) if row.get("mask") else None,
            patient=row[owner] if owner else Path(row["image"]).stem,
            modality=modality,
        )
        for row in rows
        if all(row[name] in {value for other, value in wanted if other == name} for name, _ in wanted)
    ]


def _inside(folder: Path, name: str) -> Path:
    path = (folder / (name or "")).resolve()
    if not name or not path.is_relative_to(folder.resolve()) or not path.is_file():
        raise UnreadableCase(f"{TABLE_NAME} of {folder.name} names {name or 'no file'}, which is not a file below it")
    return path


def _pixels(path: Path) -> NDArray[np.generic]:
    """Read a picture as one channel ``[y, x]``."""
    try:
        with Image.open(path) as picture:
            return np.asarray(picture if picture.mode in _DEEP_MODES else picture.convert("L"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UnreadableCase(f"{path.name} is not a readable picture") from error
