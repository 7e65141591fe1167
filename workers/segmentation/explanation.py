"""What the segmenter can show for its answer: its attention, and for each finding a plane beside itself without it.

The pseudo-healthy image costs more than everything else, so it is drawn for the shown planes alone, where the mode has
not drawn it anyway (docs/decisions/0010). Arrays are ``[z, y, x]`` in the canonical frame unless said otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from storage.explanations import Explanation, FindingView
from workers.lesions import number_components
from workers.segmentation import framing, maps
from workers.segmentation.backbone import IMAGE_SIZE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from workers.segmentation.framing import Framing
    from workers.segmentation.maps import PromptPair
    from workers.segmentation.orientation import Orientation
    from workers.segmentation.segmenter import Examination, ZeroShotSegmenter

    BoolArray = NDArray[np.bool_]
    FloatArray = NDArray[np.float32]
    ByteArray = NDArray[np.uint8]

SHARED_PLANE = 0.5
"""A plane that shows another finding already serves where it holds this share of the finding's largest area."""
_SLICES_AT_ONCE = 16
_FULL = 255


def explain(
    segmenter: ZeroShotSegmenter,
    examination: Examination,
    mask: BoolArray,
    *,
    check: Callable[[], None],
    modality: str = "MR",
) -> Explanation:
    """Explain the mask (bool, on the volume's own grid) that an examination ended with.

    Findings are numbered as in ``workers.lesions``. ``check`` is called before each batch of planes is drawn.
    ``modality`` is the volume's: what the pseudo-healthy image is asked to look like.
    """
    turn = examination.orientation
    labels = turn.apply(number_components(mask)[0])
    views = []
    planes = choose_planes(labels)
    rows = sorted(set(planes.values()))
    cut = {z: nearest_on_model_grid(labels[z], examination.framing) for z in rows}
    pair = segmenter.prompt_pair(examination.prompt, modality)
    healthy, residual = _without_findings(segmenter, examination, cut, pair=pair, check=check)
    for number, z in planes.items():
        views.append(
            FindingView(
                number=number,
                slice_index=_slice_index(z, turn, len(labels)),
                image=_brightness(examination.maps.images[z]),
                attention=np.clip(examination.maps.attention[z], 0.0, 1.0),
                healthy=_brightness(healthy[z]),
                residual=residual[z],
                mask=cut[z] == number,
            )
        )
    return Explanation(_attention(examination), tuple(views))


def choose_planes(labels: ByteArray) -> Mapping[int, int]:
    """Choose for each number the plane with its largest area, or one chosen before that shows nearly as much."""
    chosen: dict[int, int] = {}
    for number in range(1, int(labels.max(initial=0)) + 1):
        areas = np.count_nonzero(labels == number, axis=(1, 2))
        shared = [z for z in chosen.values() if areas[z] >= SHARED_PLANE * areas.max()]
        chosen[number] = max(shared, key=lambda z: int(areas[z])) if shared else int(areas.argmax())
    return chosen


def nearest_on_model_grid(plane: ByteArray, box: Framing) -> ByteArray:
    """Bring the labels of one plane onto the model's grid; 0 outside the image."""
    steps = (np.arange(IMAGE_SIZE) + 0.5) / IMAGE_SIZE
    rows = np.rint(box.top + steps * box.height - 0.5).astype(np.intp)
    columns = np.rint(box.left + steps * box.width - 0.5).astype(np.intp)
    inside = ((rows >= 0) & (rows < plane.shape[0]))[:, None] & ((columns >= 0) & (columns < plane.shape[1]))
    taken = plane[rows.clip(0, plane.shape[0] - 1)][:, columns.clip(0, plane.shape[1] - 1)]
    return np.where(inside, taken, np.uint8(0))


def _without_findings(
    segmenter: ZeroShotSegmenter,
    examination: Examination,
    cut: Mapping[int, ByteArray],
    *,
    pair: PromptPair,
    check: Callable[[], None],
) -> tuple[Mapping[int, FloatArray], Mapping[int, FloatArray]]:
    """Return pseudo-healthy image and residual of each plane, drawn now where the mode has not drawn them."""
    known = examination.maps
    healthy = {z: known.healthy[z] for z in cut}
    residual = {z: known.residual[z] for z in cut}
    missing = [z for z in cut if not (known.healthy[z] != known.decoded[z]).any()]
    suspicious = segmenter.scores(examination) > segmenter.calibration.scales.suspicion if missing else None
    for start in range(0, len(missing), maps.BATCH):
        check()
        batch = missing[start : start + maps.BATCH]
        regions = np.stack([cut[z] > 0 if suspicious is None else suspicious[z] | (cut[z] > 0) for z in batch])
        for z, drawn, difference in zip(batch, *_redrawn(segmenter, examination, batch, regions, pair), strict=True):
            healthy[z], residual[z] = drawn, difference
    return healthy, residual


def _redrawn(
    segmenter: ZeroShotSegmenter, examination: Examination, planes: list[int], regions: BoolArray, pair: PromptPair
) -> tuple[FloatArray, FloatArray]:
    """Redraw ``regions`` of some planes in the steps of the mode; return healthy images and scaled residuals."""
    scales = segmenter.calibration.scales
    fresh = maps.blank(examination.maps.images[planes])
    maps.redraw(
        segmenter.models,
        fresh,
        np.arange(len(planes)),
        regions,
        prompt=pair,
        settings=segmenter.calibration.modes[examination.mode],
    )
    pixel = np.clip(fresh.pixel_residual / scales.pixel_residual, 0.0, 1.0)
    feature = np.clip(fresh.feature_residual / scales.feature_residual, 0.0, 1.0)
    return fresh.healthy, np.asarray((pixel + feature) / 2.0, dtype=np.float32)


def _attention(examination: Examination) -> ByteArray:
    """Bring the attention map onto the volume's own grid, a few slices at a time to spare the memory."""
    turn, stack = examination.orientation, examination.maps.attention
    whole = np.empty(examination.shape, dtype=np.uint8)
    for start in range(0, len(stack), _SLICES_AT_ONCE):
        part = stack[start : start + _SLICES_AT_ONCE]
        placed = framing.from_model(part, examination.framing, (len(part), *examination.shape[1:]))
        whole[start : start + len(part)] = np.rint(np.clip(placed, 0.0, 1.0) * _FULL)
    return np.ascontiguousarray(turn.undo(whole))


def _slice_index(plane: int, turn: Orientation, planes: int) -> int | None:
    if turn.order[0] != 0:
        return None
    return planes - 1 - plane if turn.flipped[0] else plane


def _brightness(image: FloatArray) -> FloatArray:
    """Bring intensities from -1..1 to 0..1."""
    return np.asarray((np.clip(image, -1.0, 1.0) + 1.0) / 2.0, dtype=np.float32)
