"""Panels for people: image, attention, pseudo-healthy image, residual and mask of one finding side by side, as PNG.

They carry no text and no identifiers; the captions stand in the page.
"""

from __future__ import annotations

import io

import numpy as np
from numpy import bool_, float32, uint8
from numpy.typing import NDArray
from PIL import Image

from storage import arrays
from storage.explanations import Explanation, FindingView, KeptExplanation, Panel
from storage.objects import ObjectStore

_SIDE = 256
_GAP = 4
_COMPRESSION = 3
_HEAT = np.array([[0, 0, 0], [74, 16, 110], [187, 55, 84], [249, 142, 9], [252, 255, 164]], dtype=float32)
"""From nothing to 1: black, purple, red, orange, pale yellow, rising in brightness throughout."""
_MARK = np.array([255, 196, 0], dtype=float32)
_MARKED_SHARE = 0.6


def keep(explanation: Explanation | None, objects: ObjectStore) -> KeptExplanation | None:
    """Draw and measure the views, put pictures and attention map into the object store, and say where they are."""
    if explanation is None:
        return None
    panels = tuple(_panel(view, objects.put(draw(view))) for view in explanation.views)
    return KeptExplanation(arrays.save_attention(objects, explanation.attention), panels)


def draw(view: FindingView) -> bytes:
    """Draw one view as a row of square tiles."""
    tiles = (
        _enlarged(_grey(view.image)),
        _enlarged(_heat(view.attention)),
        _enlarged(_grey(view.healthy)),
        _enlarged(_heat(view.residual)),
        _marked(view.image, view.mask),
    )
    row = np.zeros((_SIDE, len(tiles) * (_SIDE + _GAP) - _GAP, 3), dtype=uint8)
    for place, tile in enumerate(tiles):
        row[:, place * (_SIDE + _GAP) :][:, :_SIDE] = tile
    buffer = io.BytesIO()
    Image.fromarray(row).save(buffer, format="PNG", compress_level=_COMPRESSION)
    return buffer.getvalue()


def _panel(view: FindingView, picture: str) -> Panel:
    return Panel(
        number=view.number,
        picture=picture,
        slice_index=view.slice_index,
        attention_inside=_mean(view.attention, view.mask),
        attention_outside=_mean(view.attention, ~view.mask),
        residual_inside=_mean(view.residual, view.mask),
        residual_outside=_mean(view.residual, ~view.mask),
    )


def _mean(values: NDArray[float32], where: NDArray[bool_]) -> float:
    return round(float(values[where].mean()), 4) if where.any() else 0.0


def _grey(values: NDArray[float32]) -> NDArray[uint8]:
    return np.asarray(np.rint(np.clip(values, 0.0, 1.0) * 255.0), dtype=uint8)[..., None].repeat(3, axis=-1)


def _heat(values: NDArray[float32]) -> NDArray[uint8]:
    stops = np.linspace(0.0, 1.0, len(_HEAT))
    channels = [np.interp(np.clip(values, 0.0, 1.0), stops, _HEAT[:, channel]) for channel in range(3)]
    return np.asarray(np.rint(np.stack(channels, axis=-1)), dtype=uint8)


def _enlarged(tile: NDArray[uint8]) -> NDArray[uint8]:
    return np.asarray(Image.fromarray(tile).resize((_SIDE, _SIDE), Image.Resampling.BICUBIC), dtype=uint8)


def _marked(image: NDArray[float32], mask: NDArray[bool_]) -> NDArray[uint8]:
    tile = _enlarged(_grey(image)).astype(float32)
    inside = np.asarray(Image.fromarray(mask).resize((_SIDE, _SIDE), Image.Resampling.NEAREST), dtype=bool)
    tile[inside] = _MARKED_SHARE * _MARK + (1.0 - _MARKED_SHARE) * tile[inside]
    return np.asarray(np.rint(tile), dtype=uint8)
