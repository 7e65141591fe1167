"""Lists of whole pictures for a few-shot task, drawn by patient from a folder of the real images, and as volumes."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy import float32
from PIL import Image

from storage.fewshot.look_alikes import are_alike, hash_of
from storage.volumes import Extent, FrameRef, Geometry, Volume
from workers.fewshot.pictures import LIST_NAME, LabelledPicture, PictureSource, difference_hash, read_pictures

PLACEHOLDER = Geometry((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1.0, 1.0, 1.0))


@dataclass(frozen=True, slots=True)
class PictureLists:
    """Folders that `oncue classification items add` takes, by split, and the pictures that are in none of them."""

    folders: Mapping[str, Path]
    pictures: Mapping[str, tuple[LabelledPicture, ...]]


def draw_lists(
    source: Path, target: Path, *, patients: Mapping[str, int], classes: Mapping[str, str] | None = None, seed: int = 0
) -> PictureLists:
    """Draw so many patients of each class for each split, one picture each; no two of them look alike.

    A list without patients or clusters counts every picture as a patient of its own. ``classes`` renames labels, so
    that several become one.
    """
    chosen: dict[str, list[LabelledPicture]] = {split: [] for split in patients}
    taken: dict[str, int] = {}
    renamed = classes or {}
    rows = [replace(row, label=renamed.get(row.label, row.label)) for row in read_pictures([PictureSource(source)])]
    for label in sorted({row.label for row in rows}):
        found = _unlike([row for row in rows if row.label == label], taken, seed)
        for split, count in patients.items():
            chosen[split] += [next(found) for _ in range(count)]
    folders = {split: _write(target / split, part) for split, part in chosen.items()}
    return PictureLists(folders, {split: tuple(part) for split, part in chosen.items()})


def volume_of(picture: LabelledPicture, *, modality: str) -> Volume:
    """Return a picture as the one slice of a volume, of luminance and without calibration."""
    grey = np.asarray(Image.fromarray(picture.read()).convert("L"), dtype=float32)
    frame = FrameRef("1.2.3.4", "1.2.840.10008.5.1.4.1.1.1.1", None, picture.digest())
    return Volume(grey[None], PLACEHOLDER, modality, "1.2", "1.2.3", None, (frame,), extent=Extent.UNKNOWN)


def _unlike(rows: list[LabelledPicture], taken: dict[str, int], seed: int) -> Iterator[LabelledPicture]:
    """Yield one picture of each patient in a drawn order; ``taken`` has the hashes of pictures by patient."""
    first: dict[str, LabelledPicture] = {}
    for row in rows:
        first.setdefault(row.group, row)
    groups = sorted(first)
    for place in np.random.default_rng(seed).permutation(len(groups)):
        row = first[groups[place]]
        own = hash_of(difference_hash(row.read()))
        if row.group not in taken and own is not None and not any(are_alike(own, one) for one in taken.values()):
            taken[row.group] = own
            yield row


def _write(folder: Path, rows: list[LabelledPicture]) -> Path:
    folder.mkdir(parents=True)
    with (folder / LIST_NAME).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "class", "patient"])
        writer.writerows([row.path.resolve(), row.label, row.group] for row in rows)
    return folder
