"""Pictures for people, as PNG without text or identifiers: slices with outlined lesions, and panels of findings.

A panel shows image, map, pseudo-healthy image, residual and mask of one finding side by side, as far as there are any;
captions stand in the page.
"""

from __future__ import annotations

import io

import numpy as np
from numpy import bool_, float32, uint8
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from storage import arrays
from storage.explanations import Explanation, FindingView, KeptExplanation, Panel, SaliencyMap, Tile
from storage.key_slices import key_slices
from storage.objects import ObjectStore
from storage.volumes import Volume

_MARK = np.array([255, 196, 0], dtype=uint8)
_ORGAN_MARKS = np.array(
    [[86, 180, 233], [0, 158, 115], [204, 121, 167], [0, 114, 178], [140, 220, 180], [160, 140, 230]], dtype=uint8
)
"""Colours of organs' outlines, by their number; none is like that of a lesion."""
_MARKED_SHARE = 0.6
_HEAT_SHARE = 0.55
_SHORTEST_SIDE = 384
_LONGEST_SIDE = 1024
_TILE = 256
_WINDOW_VOXELS = 160_000_000
_GAP = 4
_COMPRESSION = 3  # the highest level takes a second a picture, for a tenth less
_HEAT = np.array([[0, 0, 0], [74, 16, 110], [187, 55, 84], [249, 142, 9], [252, 255, 164]], dtype=float32)
"""From nothing to 1: black, purple, red, orange, pale yellow, rising in brightness throughout."""


def draw_overlays(
    volume: Volume, labels: NDArray[uint8], *, most: int, organs: NDArray[uint8] | None = None
) -> tuple[bytes, ...]:
    """Return the slices with the largest lesion area in the order of the stack, or three plain ones without a lesion.

    ``labels`` numbers the lesions ``[z, y, x]``, 0 for background, and ``organs`` the organs, whose outlines are drawn
    thinly. Pixels come out square whatever the spacing.
    """
    black, white = _window(volume.voxels)
    beside = np.zeros(labels.shape, dtype=uint8) if organs is None else organs
    return tuple(
        _outlined(_windowed(volume.voxels[z], black, white), labels[z] > 0, beside[z], volume.geometry.spacing_mm[1:])
        for z in key_slices(labels, beside, most=most)
    )


def draw_saliency(volume: Volume, saliency: SaliencyMap | None) -> tuple[bytes, ...]:
    """Return each slice that a classifier looked at twice: plain, and with its saliency laid over in colours.

    Without a map plain slices alone.
    """
    if saliency is None:
        return draw_overlays(volume, np.zeros(volume.voxels.shape, dtype=uint8), most=1)
    black, white = _window(volume.voxels)
    pictures: list[bytes] = []
    for z, values in zip(saliency.slices, saliency.values, strict=True):
        plain = np.repeat(_windowed(volume.voxels[z], black, white)[..., None], 3, axis=2)
        for picture in (plain, _heated(plain, values)):
            size = _picture_size(values.shape, volume.geometry.spacing_mm[1:])
            pictures.append(_png(np.array(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))))
    return tuple(pictures)


def _heated(plain: NDArray[uint8], values: NDArray[float32]) -> NDArray[uint8]:
    """Lay a map over a picture, the more of it the higher its value; attention rollout is nowhere 0."""
    above = (values - values.min()) / max(float(np.ptp(values)), 1e-9)
    weight = _HEAT_SHARE * above[..., None]
    return np.asarray(np.rint((1.0 - weight) * plain + weight * _heat(above)), dtype=uint8)


def _window(voxels: NDArray[float32]) -> tuple[float, float]:
    """Return black and white so that neither noise nor a few glaring pixels set the scale.

    Of a very long stack every second or third slice is looked at, for percentiles need a copy of what they are of.
    """
    step = -(-voxels.size // _WINDOW_VOXELS)
    low, high = (float(value) for value in np.percentile(voxels[::step], (1.0, 99.7)))
    return (low, high) if high > low else (float(voxels.min()), float(voxels.max()))


def _windowed(plane: NDArray[float32], black: float, white: float) -> NDArray[uint8]:
    scaled = (plane - black) / (white - black)
    return np.asarray(np.clip(scaled, 0.0, 1.0) * 255, dtype=uint8)


def _outlined(
    grey: NDArray[uint8], mask: NDArray[bool_], organs: NDArray[uint8], pixel_mm: tuple[float, float]
) -> bytes:
    size = _picture_size(grey.shape, pixel_mm)
    picture = np.array(Image.fromarray(grey).convert("RGB").resize(size, Image.Resampling.BICUBIC))
    numbers = np.array(Image.fromarray(organs).resize(size, Image.Resampling.NEAREST), dtype=uint8)
    edge = (numbers > 0) & (ndimage.minimum_filter(numbers, size=3) != ndimage.maximum_filter(numbers, size=3))
    picture[edge] = _ORGAN_MARKS[numbers[edge] % len(_ORGAN_MARKS)]
    enlarged = np.array(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST), dtype=bool)
    outline = ndimage.binary_dilation(enlarged) & ~ndimage.binary_erosion(enlarged, iterations=1)
    picture[outline] = _MARK
    return _png(picture)


def _picture_size(shape: tuple[int, ...], pixel_mm: tuple[float, float]) -> tuple[int, int]:
    """Return (width, height) in square pixels, neither tiny nor huge."""
    height_mm, width_mm = shape[0] * pixel_mm[0], shape[1] * pixel_mm[1]
    finest = min(pixel_mm)
    scale = max(1.0, _SHORTEST_SIDE * finest / min(height_mm, width_mm)) / finest
    scale = min(scale, _LONGEST_SIDE / max(height_mm, width_mm))
    return max(1, round(width_mm * scale)), max(1, round(height_mm * scale))


def keep_panels(explanation: Explanation | None, objects: ObjectStore) -> KeptExplanation | None:
    """Draw and measure the views, put them and the attention map into the object store; return where they are."""
    if explanation is None:
        return None
    panels = tuple(_panel(view, objects.put(draw_panel(view))) for view in explanation.views)
    return KeptExplanation(arrays.save_attention(objects, explanation.attention), panels)


def draw_panel(view: FindingView) -> bytes:
    """Return one view as a row of square tiles."""
    tiles = [_tile(view, shown.tile) for shown in view.tiles]
    row = np.zeros((_TILE, len(tiles) * (_TILE + _GAP) - _GAP, 3), dtype=uint8)
    for place, tile in enumerate(tiles):
        row[:, place * (_TILE + _GAP) :][:, :_TILE] = tile
    return _png(row)


def _tile(view: FindingView, tile: Tile) -> NDArray[uint8]:
    if tile is Tile.MASK:
        return _marked(view.image, view.mask)
    if tile is Tile.IMAGE:
        return _enlarged(_grey(view.image))
    if tile is Tile.HEALTHY:
        return _enlarged(_grey(_drawn(view.healthy, tile)))
    return _enlarged(_heat(_drawn(view.residual, tile) if tile is Tile.RESIDUAL else view.attention))


def _drawn(values: NDArray[float32] | None, tile: Tile) -> NDArray[float32]:
    if values is None:
        raise ValueError(f"a view that shows a {tile.value} holds none")
    return values


def _panel(view: FindingView, picture: str) -> Panel:
    drawn = view.residual
    return Panel(
        number=view.number,
        picture=picture,
        slice_index=view.slice_index,
        attention_inside=_mean(view.attention, view.mask),
        attention_outside=_mean(view.attention, ~view.mask),
        residual_inside=None if drawn is None else _mean(drawn, view.mask),
        residual_outside=None if drawn is None else _mean(drawn, ~view.mask),
        tiles=view.tiles,
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
    return np.asarray(Image.fromarray(tile).resize((_TILE, _TILE), Image.Resampling.BICUBIC), dtype=uint8)


def _marked(image: NDArray[float32], mask: NDArray[bool_]) -> NDArray[uint8]:
    tile = _enlarged(_grey(image)).astype(float32)
    inside = np.asarray(Image.fromarray(mask).resize((_TILE, _TILE), Image.Resampling.NEAREST), dtype=bool)
    tile[inside] = _MARKED_SHARE * _MARK.astype(float32) + (1.0 - _MARKED_SHARE) * tile[inside]
    return np.asarray(np.rint(tile), dtype=uint8)


def _png(picture: NDArray[uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG", compress_level=_COMPRESSION)
    return buffer.getvalue()
