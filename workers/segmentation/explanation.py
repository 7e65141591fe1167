"""What the segmenter can show for its answer: its attention map, and for each finding a plane with and without it.

The pseudo-healthy image costs more than everything else, so it is drawn for the shown planes alone, where the mode has
not drawn it anyway (docs/decisions/0010). Arrays are ``[z, y, x]`` in canonical axes unless said otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from storage.explanations import Explanation, FindingView, ShownTile, Tile
from workers.components import number_components
from workers.segmentation import inpainting, maps
from workers.segmentation.grid import IMAGE_SIZE, from_model
from workers.segmentation.shown_planes import brightness, choose_planes, nearest_in_box, slice_index

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from workers.segmentation.calibration import Fusion
    from workers.segmentation.grid import ModelGrid
    from workers.segmentation.segmenter import ScoredVolume, ZeroShotSegmenter

    BoolArray = NDArray[np.bool_]
    FloatArray = NDArray[np.float32]
    ByteArray = NDArray[np.uint8]

_SLICES_AT_ONCE = 16
_FULL = 255


def explain(
    segmenter: ZeroShotSegmenter, scored: ScoredVolume, mask: BoolArray, *, check: Callable[[], None]
) -> Explanation:
    """Return what is shown for the mask (bool, on the volume's own grid) of a scored volume.

    Findings are numbered as in ``workers.lesions``. ``check`` is called before each batch of planes is drawn.
    """
    grid, found = scored.stack.grid, scored.maps
    labels = grid.orientation.apply(number_components(mask)[0])
    planes = choose_planes(labels)
    cut = {z: nearest_in_box(labels[z], grid.crop, IMAGE_SIZE) for z in sorted(set(planes.values()))}
    tiles = _tiles(segmenter.calibration.modes[scored.mode].fusion)
    healthy, residual = _without_findings(segmenter, scored, cut, check=check)
    views = tuple(
        FindingView(
            number=number,
            slice_index=slice_index(z, grid.orientation, len(labels)),
            image=brightness(scored.stack.images[z]),
            attention=np.clip(found.attention[z], 0.0, 1.0),
            healthy=brightness(healthy[z]),
            residual=residual[z],
            mask=cut[z] == number,
            tiles=tiles,
        )
        for number, z in planes.items()
    )
    return Explanation(_attention(found.attention, grid), views)


def _tiles(fusion: Fusion) -> tuple[ShownTile, ...]:
    """Return what is shown: the image always decides, a map where it has a weight, the mask is what came of it."""
    return (
        ShownTile(Tile.IMAGE, decides=True),
        ShownTile(Tile.ATTENTION, decides=fusion.attention > 0),
        ShownTile(Tile.HEALTHY, decides=fusion.uses_residual),
        ShownTile(Tile.RESIDUAL, decides=fusion.uses_residual),
        ShownTile(Tile.MASK),
    )


def _without_findings(
    segmenter: ZeroShotSegmenter,
    scored: ScoredVolume,
    cut: Mapping[int, ByteArray],
    *,
    check: Callable[[], None],
) -> tuple[Mapping[int, FloatArray], Mapping[int, FloatArray]]:
    """Return pseudo-healthy image and residual of each plane, drawn now where the mode has not drawn them."""
    known, scales = scored.maps, segmenter.calibration.scales
    healthy = {z: known.healthy[z] for z in cut}
    residual = {z: known.residual[z] for z in cut}
    missing = [z for z in cut if not (known.healthy[z] != known.decoded[z]).any()]
    for start in range(0, len(missing), maps.BATCH):
        check()
        batch = missing[start : start + maps.BATCH]
        regions = np.stack([(scored.score[z] > scales.suspicion) | (cut[z] > 0) for z in batch])
        drawn = inpainting.redraw_slices(
            segmenter.models.diffusion,
            scored.stack.images[batch],
            regions,
            prompt=scored.prompt,
            settings=segmenter.calibration.modes[scored.mode],
        ).scaled(scales)
        difference = np.asarray((drawn.pixel_residual + drawn.feature_residual) / 2.0, dtype=np.float32)
        healthy.update(zip(batch, drawn.healthy, strict=True))
        residual.update(zip(batch, difference, strict=True))
    return healthy, residual


def _attention(attention: FloatArray, grid: ModelGrid) -> ByteArray:
    """Return the attention map on the volume's own grid, brought there a few slices at a time to spare memory."""
    whole = np.empty(grid.shape, dtype=np.uint8)
    for start in range(0, len(attention), _SLICES_AT_ONCE):
        part = attention[start : start + _SLICES_AT_ONCE]
        placed = from_model(part, grid.crop, (len(part), *grid.shape[1:]))
        whole[start : start + len(part)] = np.rint(np.clip(placed, 0.0, 1.0) * _FULL)
    return grid.to_stored(whole)
