"""What backbones, visual prompts and heads promise each other, and the check that every vector is finite.

Pictures are uint8 ``[y, x, 3]`` (RGB), masks bool ``[y, x]`` of the same size, vectors float32 ``[n, d]``, spatial
grids float32 ``[n, h, w, c]``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import numpy as np
from numpy import bool_, float32, uint8
from numpy.typing import NDArray

from workers.errors import EmbeddingNotFinite

Picture = NDArray[uint8]
Mask = NDArray[bool_]
Vectors = NDArray[float32]

PROMPT_VERSION = 1
"""Raised whenever a visual prompt draws another picture than before: older embeddings are then not comparable."""


class PromptMode(StrEnum):
    """How a mask guides the backbone; every mode is deterministic."""

    NONE = "none"
    OVERLAY = "overlay"
    CONTOUR = "contour"
    BLUR = "blur"
    DIM = "dim"
    CROP = "crop"
    MASKPOOL = "maskpool"
    GLOBAL_CROP = "global+crop"
    THREE_LOOKS = "three-looks"
    """The whole picture, its mirror image and the middle of it, their vectors side by side."""


MASKLESS = frozenset({PromptMode.NONE, PromptMode.THREE_LOOKS})
"""Modes that look at the whole picture and need no mask."""
_WINDOWED = ":w1"
"""Its number is raised whenever `preprocessing.windowed` gives another picture than before."""


class Scope(StrEnum):
    """What an adapter labels; it follows from the prompt that its items were embedded under."""

    LESION = "lesion"
    """One lesion under its mask."""
    IMAGE = "image"
    """A whole image, or one slice of a series, without any mask."""

    @classmethod
    def of(cls, prompt_mode: str) -> Scope:
        """Return what an adapter of a prompt labels."""
        return cls.IMAGE if prompt_mode in MASKLESS else cls.LESION


class MaskSource(StrEnum):
    """Where the mask of a picture came from."""

    NONE = "none"
    GIVEN = "given"
    SEGMENTATION = "segmentation"
    BOX = "sam2-box"
    AUTOMATIC = "sam2-automatic"
    REGION = "region"
    SHUFFLED = "shuffled"
    """The wrong-mask control: masks permuted between pictures."""


class Interpolation(StrEnum):
    """How a picture is brought to the size that the backbone takes."""

    BILINEAR = "bilinear"
    BICUBIC = "bicubic"


class Framing(StrEnum):
    """What becomes of a picture that is not square."""

    STRETCH = "stretch"
    """Both sides are brought to the size."""
    CENTRE_CROP = "centre-crop"
    """The shorter side is brought to the size, the longer one is cut on both ends."""
    PAD = "pad"
    """The longer side is brought to the size, the shorter one is filled with black."""


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """From a picture to the backbone's tensor: fit, resize to ``size`` x ``size`` pixels, scale to 0..1, normalise."""

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: Interpolation = Interpolation.BICUBIC
    fit: Framing = Framing.STRETCH


@dataclass(frozen=True, slots=True)
class BackboneCard:
    """What is known of a frozen encoder.

    ``key`` names it and everything that decides its vectors (weights, preprocessing, feature); ``sha256`` is the
    digest over all of its files.
    """

    name: str
    family: str
    sha256: str
    key: str
    licence: str
    commercial_use: bool
    dimensions: int
    grid_channels: int
    has_text: bool
    preprocessing: Preprocessing


@dataclass(frozen=True, slots=True, eq=False)
class Embeddings:
    """What a backbone sees in ``n`` pictures: one vector for each, and one vector for each cell of a spatial grid."""

    pooled: Vectors
    """float32 ``[n, d]``."""
    grid: NDArray[float32]
    """float32 ``[n, h, w, c]``; class and register tokens are left out."""


class Backbone(Protocol):
    """A frozen image encoder."""

    @property
    def card(self) -> BackboneCard:
        """What is known of it."""

    def embed(self, pictures: Sequence[Picture]) -> Embeddings:
        """Embed pictures of any size, in their order; raises EmbeddingNotFinite that names the first bad one."""


class FittedHead(Protocol):
    """A head that was fitted on support vectors."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels, in the order of the columns of ``predict_proba``."""

    def predict_proba(self, vectors: Vectors) -> Vectors:
        """Return probabilities ``[n, k]`` for vectors ``[n, d]``; each row sums to 1."""

    def to_bytes(self) -> bytes:
        """Return the head as safetensors; the same head always gives the same bytes. Read with ``heads.read_head``."""


class Head(Protocol):
    """A way to learn from a few labelled vectors; its hyperparameters are fixed in code."""

    @property
    def name(self) -> str:
        """What the command line and the records call it."""

    def fit(self, vectors: Vectors, labels: Sequence[str], groups: Sequence[str], *, seed: int) -> FittedHead:
        """Fit on vectors ``[n, d]``; ``groups`` names the patient of each, for tuning inside the support set only.

        The same rows give the same bytes in whatever order they come. Raises OneClassOnly, EmbeddingNotFinite.
        """


def embedding_key(card: BackboneCard, mode: PromptMode) -> str:
    """Name the space that vectors lie in: only vectors with the same key may be compared."""
    return f"{card.key}:{mode.value}:v{PROMPT_VERSION}"


def item_key(card: BackboneCard, mode: PromptMode) -> str:
    """Name the space of items and of what is served: whole pictures are windowed first, as a slice of a volume is."""
    return embedding_key(card, mode) + (_WINDOWED if mode in MASKLESS else "")


def require_finite(vectors: NDArray[float32], *, what: str) -> None:
    """Raise EmbeddingNotFinite that names the first row with NaN or infinity, which would win every comparison."""
    finite = np.isfinite(vectors.reshape(len(vectors), -1)).all(axis=1)
    if not finite.all():
        raise EmbeddingNotFinite(f"{what} {int(finite.argmin())}: its vector holds NaN or infinity; look at the input")
