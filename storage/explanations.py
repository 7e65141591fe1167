"""Why a finding was marked and got its label: plain types that models, records and reports share.

Arrays are ``[z, y, x]``.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy import bool_, float32, uint8
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


class Tile(StrEnum):
    """What one square of a panel's picture shows; the value is what people read."""

    IMAGE = "image"
    ATTENTION = "attention"
    SCORE = "score"
    HEALTHY = "pseudo-healthy image"
    RESIDUAL = "residual"
    MASK = "mask"


@dataclass(frozen=True, slots=True)
class ShownTile:
    """One tile, and whether what it shows took part in the decision what to mark; None where that was not recorded."""

    tile: Tile
    decides: bool | None = None


TILES = tuple(map(ShownTile, (Tile.IMAGE, Tile.ATTENTION, Tile.HEALTHY, Tile.RESIDUAL, Tile.MASK)))
"""What the pictures of panels show that do not say it themselves, from left to right."""


@dataclass(frozen=True, slots=True, eq=False)
class FindingView:
    """One axial plane through a finding, cut out square: float32 ``[row, column]`` in 0..1, and the mask there.

    ``number`` is the finding's; ``slice_index`` the slice of the volume that shows this plane, None where the volume's
    slices are not axial. ``attention`` is the map that led to the mask (attention, or a network's score). ``healthy``
    is the plane as the model would draw it without the finding, ``residual`` what separates it from the model's own
    drawing of the image, 1 being more than redrawing healthy tissue ever changes; both None where it draws neither.
    ``tiles`` says what of this the picture shows, from left to right.
    """

    number: int
    slice_index: int | None
    image: NDArray[float32]
    attention: NDArray[float32]
    healthy: NDArray[float32] | None
    residual: NDArray[float32] | None
    mask: NDArray[bool_]
    tiles: tuple[ShownTile, ...] = TILES


@dataclass(frozen=True, slots=True, eq=False)
class Explanation:
    """What an analyser shows for its answer, one view for each finding that it shows.

    ``attention`` is uint8 ``[z, y, x]`` on the volume's own grid, 255 for full attention; a network's score where the
    views show one.
    """

    attention: NDArray[uint8]
    views: tuple[FindingView, ...]


@dataclass(frozen=True, slots=True)
class Panel:
    """One view as it is kept: the object store's digest of its picture, and mean values inside and outside the mask.

    ``attention`` stands for the score where the tiles show one; a residual is None where none was drawn.
    """

    number: int
    picture: str
    slice_index: int | None
    attention_inside: float
    attention_outside: float
    residual_inside: float | None
    residual_outside: float | None
    tiles: tuple[ShownTile, ...] = TILES

    @property
    def shows_score(self) -> bool:
        """Whether the map is a network's score and no attention."""
        return any(shown.tile is Tile.SCORE for shown in self.tiles)


@dataclass(frozen=True, slots=True)
class KeptExplanation:
    """An explanation in the object store: the digest of the attention map (``arrays.load_attention``), and panels."""

    attention: str
    panels: tuple[Panel, ...]

    @property
    def shows_score(self) -> bool:
        """Whether the map is a network's score and no attention."""
        return any(panel.shows_score for panel in self.panels)


def panels_to_json(panels: tuple[Panel, ...]) -> str:
    """Return panels as canonical JSON."""
    return json.dumps([asdict(panel) for panel in panels], sort_keys=True)


def panels_from_json(text: str) -> tuple[Panel, ...]:
    """Return what ``panels_to_json`` wrote, also before panels said what their pictures show."""
    return tuple(_panel(entry) for entry in json.loads(text))


def _panel(entry: dict[str, Any]) -> Panel:
    shown = entry.pop("tiles", None)
    if shown is None:
        return Panel(**entry)
    return Panel(**entry, tiles=tuple(ShownTile(Tile(one["tile"]), one["decides"]) for one in shown))
