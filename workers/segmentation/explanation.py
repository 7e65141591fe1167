"""What the segmenter can show for its answer: its attention map, and for each finding a plane with and without it.

The pseudo-healthy image costs more than everything else, so it is drawn for the shown planes alone, where the mode has
not drawn it anyway (docs/decisions/0010). Arrays are ``[z, y, x]`` in canonical axes unless said otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from storage.explanations import Explanation, FindingView
from workers.components import number_components
from workers.segmentation import inpainting, maps
from workers.segmentation.grid import IMAGE_SIZE, from_model

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from workers.segmentation.grid import Crop, ModelGrid, Orientation
    from workers.segmentation.segmenter import ScoredVolume, ZeroShotSegmenter

    BoolArray = NDArray[np.bool_]
    FloatArray = NDArray[np.float32]
    ByteArray = NDArray[np.uint8]

SHARED_PLANE = 0.5
"""A plane that shows another finding already serves where it holds this share of the finding's largest area."""
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
    cut = {z: nearest_on_model_grid(labels[z], grid.crop) for z in sorted(set(planes.values()))}
    healthy, residual = _without_findings(segmenter, scored, cut, check=check)
    views = tuple(
        FindingView(
            number=number,
            slice_index=_slice_index(z, grid.orientation, len(labels)),
            image=_brightness(scored.stack.images[z]),
            attention=np.clip(found.attention[z], 0.0, 1.0),
            healthy=_brightness(healthy[z]),
            residual=residual[z],
            mask=cut[z] == number,
        )
        for number, z in planes.items()
    )
    return Explanation(_attention(found.attention, grid), views)


def choose_planes(labels: ByteArray) -> Mapping[int, int]:
    """Return for each number the plane with its largest area, or an earlier choice that shows nearly as much of it."""
    chosen: dict[int, int] = {}
    for number in range(1, int(labels.max(initial=0)) + 1):
        areas = np.count_nonzero(labels == number, axis=(1, 2))
        shared = [z for z in chosen.values() if areas[z] >= SHARED_PLANE * areas.max()]
        chosen[number] = max(shared, key=lambda z: int(areas[z])) if shared else int(areas.argmax())
    return chosen


def nearest_on_model_grid(plane: ByteArray, box: Crop) -> ByteArray:
    """Return the labels of one plane on the model's grid; 0 outside the image."""
    steps = (np.arange(IMAGE_SIZE) + 0.5) / IMAGE_SIZE
    rows = np.rint(box.top + steps * box.height - 0.5).astype(np.intp)
    columns = np.rint(box.left + steps * box.width - 0.5).astype(np.intp)
    inside = ((rows >= 0) & (rows < plane.shape[0]))[:, None] & ((columns >= 0) & (columns < plane.shape[1]))
    taken = plane[rows.clip(0, plane.shape[0] - 1)][:, columns.clip(0, plane.shape[1] - 1)]
    return np.where(inside, taken, np.uint8(0))


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


def _slice_index(plane: int, turn: Orientation, planes: int) -> int | None:
    if turn.order[0] != 0:
        return None
    return planes - 1 - plane if turn.flipped[0] else plane


def _brightness(image: FloatArray) -> FloatArray:
    """Return intensities of -1..1 in 0..1."""
    return np.asarray((np.clip(image, -1.0, 1.0) + 1.0) / 2.0, dtype=np.float32)
