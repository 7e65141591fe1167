"""What a backbone sees of a lesion in a volume: one vector, and grids that know where in the plane they lie.

Volumes and masks are ``[z, y, x]``, grids ``[n, h, w, c]``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from numpy import bool_, float32
from numpy.typing import NDArray

from storage.domain import Volume
from workers.fewshot.contracts import Picture


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a picture lies in its plane, in pixels: the first row and column that it covers, and how many."""

    top: float
    left: float
    height: float
    width: float


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """One lesion as it was seen: vector ``[d]``, share of the plane that the mask covers, and a grid per picture."""

    vector: NDArray[float32]
    area: float
    slices: tuple[int, ...]
    placements: tuple[Placement, ...]
    grids: NDArray[float32]
    pictures: tuple[Picture, ...] = ()


class LesionEncoder(Protocol):
    """Turns a lesion of a volume into a vector of one space."""

    @property
    def key(self) -> str:
        """Name of the space: only vectors with the same key may be compared."""

    @property
    def backbone_sha256(self) -> str:
        """Digest of the weights."""

    def look(self, volume: Volume, mask: NDArray[bool_]) -> Look | None:
        """Look at the lesion under a mask; None where it is too small on every slice."""

    def attention(self, look: Look) -> NDArray[float32] | None:
        """Return where the network's own attention went ``[n, h, w]``; None for a network without attention."""
