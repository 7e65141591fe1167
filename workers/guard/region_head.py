"""The head on the encoder's vectors: which kind of picture each is, and how unlike everything learned.

Vectors are float32 ``[n, d]``, probabilities ``[n, k]`` over the kinds, distances ``[n]`` where 1 is as far as pictures
of the kind were ever allowed to lie.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy import float16, float32, float64
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from workers.errors import AnotherBackbone, WeightsMismatch
from workers.fewshot.contracts import Vectors
from workers.fewshot.fitted_heads import softmax
from workers.guard.kinds import PictureKind

HEAD_FILE = "head.safetensors"
DESCRIPTION_FILE = "head.json"
_FORMAT = 1
_TENSORS = ("centre", "weight", "bias", "axes", "means", "whitening", "limits", "residual_limits")


@dataclass(frozen=True, slots=True)
class HeadDescription:
    """What a head was fitted on, and from which probability on it has an opinion."""

    space: str
    """The encoder's key: only its vectors may be shown to the head."""
    kinds: tuple[PictureKind, ...]
    least_probability: float
    """Of the region, under which a volume gets no opinion."""


@dataclass(frozen=True, slots=True, eq=False)
class RegionHead:
    """A linear head, and for each kind a normal distribution on the ``a`` main axes of the training vectors."""

    description: HeadDescription
    centre: NDArray[float32]
    """``[d]``: taken off every vector first."""
    weight: NDArray[float32]
    """``[k, d]``."""
    bias: NDArray[float32]
    axes: NDArray[float32]
    """``[d, a]``, orthonormal."""
    means: NDArray[float32]
    """``[k, a]``."""
    whitening: NDArray[float32]
    """``[k, a, a]``: turns what lies between a vector and the kind's mean into Mahalanobis' coordinates."""
    limits: NDArray[float32]
    """``[k]``: the largest Mahalanobis distance at which a picture of the kind is familiar."""
    residual_limits: NDArray[float32]
    """``[k]``: likewise, of the length of what the axes leave out."""

    def probabilities(self, vectors: Vectors) -> Vectors:
        """Return how probable each kind is; AnotherBackbone where the vectors have another length."""
        return softmax(self._moved(vectors) @ self.weight.T + self.bias)

    def distances(self, vectors: Vectors) -> NDArray[float64]:
        """Return how far each vector lies from the kind that it most probably is, 1 where the kind's limit is."""
        moved = self._moved(vectors)
        kinds = np.argmax(moved @ self.weight.T + self.bias, axis=1)
        placed = moved @ self.axes
        residual = np.linalg.norm(moved - placed @ self.axes.T, axis=1)
        white = np.einsum("nij,nj->ni", self.whitening[kinds].astype(float64), placed - self.means[kinds])
        inside = np.linalg.norm(white, axis=1) / self.limits[kinds]
        return np.asarray(np.maximum(inside, residual / self.residual_limits[kinds]))

    def write(self, folder: Path) -> None:
        """Write both files; the two large matrices in half precision."""
        tensors = {name: np.ascontiguousarray(getattr(self, name), dtype=float32) for name in _TENSORS}
        halved = {name: tensors[name].astype(float16) for name in ("weight", "axes", "whitening")}
        (folder / HEAD_FILE).write_bytes(save(dict(sorted((tensors | halved).items()))))
        described = {
            "format": _FORMAT,
            "space": self.description.space,
            "kinds": [kind.value for kind in self.description.kinds],
            "least_probability": self.description.least_probability,
        }
        (folder / DESCRIPTION_FILE).write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")

    def _moved(self, vectors: Vectors) -> NDArray[float64]:
        if vectors.ndim != 2 or vectors.shape[1] != len(self.centre):  # noqa: PLR2004 - rows of vectors
            raise AnotherBackbone(f"the head knows vectors of {len(self.centre)} numbers, got {vectors.shape[-1]}")
        return vectors.astype(float64) - self.centre


def read_head(folder: Path) -> RegionHead:
    """Read a head, whose digests have been checked; WeightsMismatch where it is of another format."""
    try:
        described = json.loads((folder / DESCRIPTION_FILE).read_bytes())
        if described["format"] != _FORMAT:
            raise ValueError("another format")  # noqa: TRY301 - one way out for everything that is wrong with it
        kinds = tuple(PictureKind(name) for name in described["kinds"])
        description = HeadDescription(str(described["space"]), kinds, float(described["least_probability"]))
        stored = load_file(folder / HEAD_FILE)
        tensors = {name: stored[name].astype(float32) for name in _TENSORS}
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise WeightsMismatch(f"the head of {folder.name} cannot be read: restore the folder") from error
    return RegionHead(description, **tensors)
