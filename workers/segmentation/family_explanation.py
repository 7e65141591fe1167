"""What a family's network can show for its answer: its score, and a plane through each finding.

The network draws no pseudo-healthy image and attends to no prompt, so neither is shown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from storage.explanations import Explanation, FindingView, ShownTile, Tile
from workers.components import number_components
from workers.segmentation.shown_planes import brightness, choose_planes, nearest_in_box, slice_index

if TYPE_CHECKING:
    from storage.domain import Segmentation
    from workers.segmentation.family_segmenter import ScoredStack

TILES = (ShownTile(Tile.IMAGE, decides=True), ShownTile(Tile.SCORE, decides=True), ShownTile(Tile.MASK))
_FULL = 255


def explain_score(scored: ScoredStack, segmentation: Segmentation) -> Explanation | None:
    """Return what is shown for the mask of a scored stack; None where nothing was found.

    Findings are numbered as in ``workers.lesions``.
    """
    if not segmentation.mask.any():
        return None
    stack = scored.stack
    labels = np.ascontiguousarray(stack.orientation.apply(number_components(segmentation.mask)[0]))
    side = stack.images.shape[-1]
    views = tuple(
        FindingView(
            number=number,
            slice_index=slice_index(z, stack.orientation, len(labels)),
            image=brightness(stack.images[z]),
            attention=np.clip(scored.score[z], 0.0, 1.0),
            healthy=None,
            residual=None,
            mask=nearest_in_box(labels[z], stack.crop, side) == number,
            tiles=TILES,
        )
        for number, z in choose_planes(labels).items()
    )
    return Explanation(np.rint(segmentation.score_map * _FULL).astype(np.uint8), views)
