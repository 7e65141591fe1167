"""Drawn pictures of what families see in single slices: a head with contrast, a breast, a lung, each with a find."""

from __future__ import annotations

import numpy as np
import torch
from numpy import float32
from numpy.typing import NDArray
from scipy import ndimage
from scipy.special import expit

from lab.cases import as_volume
from lab.training.families import breast_masses, sonography
from lab.training.fields import FieldBank
from lab.training.outlines import Canvas
from phantom.anatomy import Contrast
from phantom.head import head_phantom
from storage.volumes import Volume

WITH_CONTRAST = Contrast(white=95.0, grey=82.0, fluid=22.0, fat=190.0)
VESSELS = 7
BREAST_SEED, HEAD_SEED, LUNG_SEED = 20_016, 5, 3


def head_with_uptake() -> Volume:
    """Return a drawn T1 head whose lesion takes up contrast."""
    drawn = head_phantom(seed=HEAD_SEED, contrast=WITH_CONTRAST)
    return as_volume(drawn.voxels, drawn.geometry.spacing_mm, modality="MR")


def breast_with_mass(side: int = 128) -> Volume:
    """Return one drawn ultrasound picture with a mass; its seed is beyond those that are trained on."""
    grey = torch.from_numpy((sonography.draw(BREAST_SEED, side) + 1.0) / 2.0)[None]
    room = torch.ones_like(grey, dtype=torch.bool)
    canvas = Canvas(grey, room, room, torch.full((1, 1, 1, 1), 0.4), torch.zeros(1, dtype=torch.bool))
    rng = np.random.default_rng(BREAST_SEED)
    painted = breast_masses.paint(canvas, FieldBank(rng, size=side), rng).grey[0].numpy()
    return as_volume(_bytes(painted), (1.0, 0.4, 0.4), modality="US")


def lung_with_nodule(side: int = 96) -> Volume:
    """Return one drawn crop of a chest CT: wall, lung, vessels and a nodule."""
    rng = np.random.default_rng(LUNG_SEED)
    y, x = np.mgrid[:side, :side].astype(float32)
    wall = expit((14.0 + 4.0 * np.sin(y / 22.0) - x) / 1.2)
    vessels = np.zeros_like(y)
    for _ in range(VESSELS):
        row, column, turn = rng.uniform(0, side), rng.uniform(30, side), rng.uniform(0, np.pi)
        across = (y - row) * np.cos(turn) + (x - column) * np.sin(turn)
        vessels += np.exp(-np.square(across) / 3.0 - (np.square(y - row) + np.square(x - column)) / 500.0)
    nodule = expit((6.0 - np.hypot(y - 40.0, x - 52.0)) / 0.7)
    grey = 0.08 + 0.75 * np.maximum(np.maximum(wall, nodule), 0.8 * vessels.clip(max=1.0))
    grey = ndimage.gaussian_filter(grey + rng.normal(0, 0.05, grey.shape), 0.5)
    return as_volume(_bytes(grey[None]), (5.0, 1.0, 1.0), modality="CT")


def _bytes(grey: NDArray[float32]) -> NDArray[float32]:
    return np.asarray(np.clip(grey, 0, 1) * 255, dtype=float32)
