"""The cases that the guard learns body regions from: whose they are, what they show, and how to read them.

A case is a stack ``[z, y, x]`` or one image ``[1, y, x]``. Patients are split by ``lab.patients``: the test patients of
``brain-mri-lgg`` are the same as everywhere.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy import float32
from numpy.typing import NDArray
from PIL import Image
from pydicom import dcmread

from lab.body_region.patterns import pattern
from lab.cases import as_volume
from lab.patients import Role, named, role
from phantom.anatomy import Contrast
from phantom.head import head_phantom
from storage.volumes import Volume
from workers.errors import TrainingDataMissing
from workers.guard.kinds import PictureKind

PHANTOM_SEED = 20_000
"""Seed of the first phantom head of this training; tests and demonstrations draw theirs from below."""
PHANTOMS = 48
PATTERNS = 84
MOST_CHILDREN = 250
"""Of the 1,171 children: enough, and a kind with many more pictures than the others would only cost time."""
IMAGES_OF_ONE = 2
"""Pictures that are taken of one patient of a folder of images, at most."""
CONTRASTS = (
    None,
    Contrast(white=120, grey=88, fluid=24, fat=200, bone=10, air=3),
    Contrast(white=60, grey=85, fluid=190, fat=130, bone=12, air=3),
    Contrast(white=85, grey=100, fluid=70, fat=110, bone=15, air=3),
)
"""FLAIR as the phantom draws it, and like T1, T2 and proton density."""
_UNITS = {"CT": "CT", "PET": "PT", "MR": "MR"}
_SARCOMA_KINDS = {"CT": PictureKind.LIMB_CT, "PET": PictureKind.LIMB_PET, "MR": PictureKind.LIMB_MR}

Read = Callable[[], NDArray[float32]]


@dataclass(frozen=True, slots=True, eq=False)
class RegionCase:
    """One stack or image: its kind, whose it is, from which folder, and under which modality it would arrive."""

    kind: PictureKind
    patient: str
    source: str
    modality: str
    read: Read

    @property
    def role(self) -> Role:
        """What the case may be used for."""
        return role(self.patient)

    def volume(self) -> Volume:
        """Read the voxels, as the worker would hand them to the guard."""
        return as_volume(self.read(), (5.0, 1.0, 1.0), modality=self.modality)


@dataclass(frozen=True, slots=True)
class PictureFolder:
    """A folder of pictures with ``images.csv``; ``where`` keeps the rows whose class it names."""

    folder: str
    kind: PictureKind
    modality: str
    owner: str
    """The column that says whose a picture is, or which look-alikes belong together."""
    where: str = ""
    most_patients: int = 0
    images_of_one: int = IMAGES_OF_ONE


FOLDERS = (
    PictureFolder("brain-mri-t1c", PictureKind.HEAD_MR, "MR", "patient"),
    PictureFolder("brain-mri-no-tumor", PictureKind.HEAD_MR, "MR", "cluster"),
    # Of this collection the adults only: its children come from the same hospital as those of the next.
    PictureFolder("covid-xray", PictureKind.CHEST_XRAY, "DX", "image", where="covid"),
    PictureFolder("lung-xray-children", PictureKind.CHEST_XRAY, "DX", "patient", "", MOST_CHILDREN, 1),
    PictureFolder("breast-ultrasound", PictureKind.BREAST_ULTRASOUND, "US", "cluster", "", 0, 1),
    PictureFolder("lung-nodule-ct", PictureKind.CHEST_CT, "CT", "patient", "", 0, 1),
)


def read_cases(root: Path) -> list[RegionCase]:
    """List every case under ``root``, none of them read yet; TrainingDataMissing names a folder that is not there."""
    found = [*_stacks(root), *_sarcomas(root), *_chest(root), *_phantoms()]
    for folder in FOLDERS:
        found += _pictures(root, folder)
    return [*found, *_patterns()]


def _stacks(root: Path) -> Iterator[RegionCase]:
    for path in _files(root / "brain-mri-lgg", "*.npz"):
        yield RegionCase(PictureKind.HEAD_MR, named(path.stem), "brain-mri-lgg", "MR", partial(_array, path, "flair"))


def _sarcomas(root: Path) -> Iterator[RegionCase]:
    for path in _files(root / "sarcoma-ct-pet-mr", "*__*.npz"):
        imaging = path.stem.rpartition("__")[2]
        kind, modality = _SARCOMA_KINDS[imaging], _UNITS[imaging]
        yield RegionCase(kind, named(path.stem), "sarcoma-ct-pet-mr", modality, partial(_array, path, "image"))


def _chest(root: Path) -> Iterator[RegionCase]:
    """The one whole chest CT: it trains, or there would be nothing but crops to know a chest CT by."""
    folder = root / "dicom" / "ct-chest-100-slices"
    _files(folder, "*.dcm")
    yield RegionCase(PictureKind.CHEST_CT, "CMB-CRC", "ct-chest-100-slices", "CT", partial(_series, folder))


def _phantoms() -> Iterator[RegionCase]:
    for number in range(PHANTOMS):
        yield RegionCase(PictureKind.HEAD_MR, f"phantom {number}", "phantom", "MR", partial(_phantom, number))


def _patterns() -> Iterator[RegionCase]:
    for number in range(PATTERNS):
        yield RegionCase(PictureKind.NO_BODY, f"pattern {number}", "pattern", "MR", partial(pattern, number))


def _pictures(root: Path, source: PictureFolder) -> Iterator[RegionCase]:
    place = root / source.folder / "images.csv"
    try:
        with place.open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if source.where in ("", row.get("class"))]
    except OSError as error:
        raise TrainingDataMissing(
            f"{source.folder}/images.csv cannot be read: name the folder that holds it"
        ) from error
    owned: dict[str, int] = {}
    for row in rows:
        owner = f"{source.folder}:{row[source.owner]}"
        if owner not in owned and source.most_patients and len(owned) == source.most_patients:
            continue
        owned[owner] = owned.get(owner, 0) + 1
        if owned[owner] <= source.images_of_one:
            read = partial(_picture, root / source.folder / row["image"])
            yield RegionCase(source.kind, owner, source.folder, source.modality, read)


def _files(folder: Path, pattern: str) -> list[Path]:
    files = sorted(folder.glob(pattern))
    if not files:
        raise TrainingDataMissing(f"{folder.name} holds no {pattern}: name the folder that holds it")
    return files


def _array(path: Path, name: str) -> NDArray[float32]:
    with np.load(path) as arrays:
        return np.asarray(arrays[name], dtype=float32)


def _picture(path: Path) -> NDArray[float32]:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("L"), dtype=float32)[None]


def _series(folder: Path) -> NDArray[float32]:
    datasets = sorted(
        (dcmread(path) for path in folder.glob("*.dcm")), key=lambda one: float(one.ImagePositionPatient[2])
    )
    planes = [one.pixel_array * float(one.RescaleSlope) + float(one.RescaleIntercept) for one in datasets]
    return np.asarray(np.stack(planes), dtype=float32)


def _phantom(number: int) -> NDArray[float32]:
    rng = np.random.default_rng(PHANTOM_SEED + number)
    size = int(rng.choice((48, 64, 96, 128, 192, 256)))
    return head_phantom(
        seed=PHANTOM_SEED + number,
        lesion=bool(rng.random() < 0.5),  # noqa: PLR2004 - half of them
        slices=int(rng.integers(3, 25)),
        size=size,
        oblique_degrees=float(rng.uniform(-25, 25)),
        contrast=CONTRASTS[number % len(CONTRASTS)],
    ).voxels
