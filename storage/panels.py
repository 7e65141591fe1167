"""Why a finding was marked: what an analyser can show of it, and what is kept of that. Plain types."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from numpy import bool_, float32, uint8
    from numpy.typing import NDArray

TILES = ("image", "attention", "pseudo-healthy image", "residual", "mask")
"""What the picture of a view shows, from left to right."""


@dataclass(frozen=True, slots=True, eq=False)
class FindingView:
    """One axial plane through a finding, cut out square: float32 ``[row, column]`` in 0..1, and the mask there.

    ``number`` is the finding's; ``slice_index`` the slice of the volume that shows this plane, None where the volume's
    slices are not axial. ``healthy`` is the plane as the model would draw it without the finding, ``residual`` what
    separates it from the model's own drawing of the image, 1 being more than redrawing healthy tissue ever changes.
    """

    number: int
    slice_index: int | None
    image: NDArray[float32]
    attention: NDArray[float32]
    healthy: NDArray[float32]
    residual: NDArray[float32]
    mask: NDArray[bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Explanation:
    """What an analyser shows for its answer, one view for each finding that it shows.

    ``attention`` is uint8 ``[z, y, x]`` on the volume's own grid, 255 for full attention.
    """

    attention: NDArray[uint8]
    views: tuple[FindingView, ...]


@dataclass(frozen=True, slots=True)
class Panel:
    """One view as it is kept: the object store's digest of its picture, and mean values inside and outside the mask."""

    number: int
    picture: str
    slice_index: int | None
    attention_inside: float
    attention_outside: float
    residual_inside: float
    residual_outside: float


@dataclass(frozen=True, slots=True)
class KeptExplanation:
    """An explanation in the object store: the digest of the attention map (``arrays.load_attention``), and panels."""

    attention: str
    panels: tuple[Panel, ...]
