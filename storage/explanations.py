"""Why a lesion got its label: plain types that model code, records and reports share. Arrays are ``[z, y, x]``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from numpy import float32
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Neighbour:
    """One support case near a lesion: its number, its label, and the cosine between the two embeddings."""

    item: int
    label: str
    similarity: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """How a label came about: by which adapter, among which classes, next to which support cases.

    ``label_set`` holds the classes that the conformal threshold could not rule out; ``distance`` is one minus the
    cosine to the nearest support case. ``saliency`` is the object store's digest of the map (``arrays.load_saliency``),
    ``in_mask_share`` the share of it that lies inside the lesion, 0..1. ``attends_to_lesion`` says whether the
    shuffled-mask control has shown that the region decides.
    """

    adapter: int
    label_set: tuple[str, ...] = ()
    distance: float | None = None
    nearest: tuple[Neighbour, ...] = ()
    attends_to_lesion: bool = False
    saliency: str | None = None
    in_mask_share: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class SaliencyMap:
    """Where the classifier looked: float32 ``[n, y, x]`` in 0..1 for the slices ``slices`` of the volume's grid."""

    slices: tuple[int, ...]
    values: NDArray[float32]
