"""Phantom heads as a folder of cases, as a site keeps its patients."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lab.patients import Role, role
from phantom.head import Phantom, head_phantom

SLICES, SIZE, SLICE_MM = 16, 128, 7.0


def small_phantom(seed: int, *, lesion: bool) -> Phantom:
    """Draw a phantom head of few, coarse slices."""
    return head_phantom(seed=seed, lesion=lesion, slices=SLICES, size=SIZE, slice_mm=SLICE_MM)


def names(wanted: Role, count: int) -> list[str]:
    """Return names of patients whom the split puts to ``wanted``."""
    return [name for name in (f"phantom{index}" for index in range(2000)) if role(name) is wanted][:count]


def write_cases(folder: Path, *, training: int, held_out: int, first_seed: int) -> Path:
    """Write healthy phantoms without any mask, ``training`` of them to train on and ``held_out`` to calibrate on."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, name in enumerate([*names(Role.TRAIN, training), *names(Role.TUNE, held_out)]):
        phantom = small_phantom(first_seed + index, lesion=False)
        np.savez(folder / f"{name}.npz", image=phantom.voxels, spacing_mm=np.array(phantom.geometry.spacing_mm))
    return folder
