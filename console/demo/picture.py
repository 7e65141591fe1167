"""The picture of a demonstration: slices side by side, with what was found and, for a phantom, what is there."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pydicom
from numpy import bool_, float32, uint8
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from console.demo.demonstrated_study import DemonstratedStudy, Truth

_COLUMNS = 4
_MOST = 8
_TILE = 320
_GAP = 8
_LEGEND = 28
_FOUND = (255, 196, 0)
_TRUE = (64, 224, 208)
_PAGE = (13, 19, 23)


def draw_phantom(outcome: DemonstratedStudy, truth: Truth, path: Path) -> None:
    """Draw the slices with most lesion: found as the PACS received it, and the truth."""
    if outcome.mask is None:
        return
    areas = (outcome.mask | truth.mask).sum(axis=(1, 2))
    chosen = sorted(np.argsort(-areas, kind="stable")[:_MOST].tolist())
    planes = [_plane(truth, z) for z in chosen]
    white = float(np.percentile(np.stack(planes), 99.7)) or 1.0
    tiles = [_tile(plane / white, truth.mask[z], outcome.mask[z]) for plane, z in zip(planes, chosen, strict=True)]
    _montage(tiles, [("found", _FOUND), ("phantom's truth", _TRUE)]).save(path)


def draw_overlays(pictures: Sequence[bytes], path: Path) -> None:
    """Put the overlay pictures of an analysis side by side."""
    tiles = [Image.open(io.BytesIO(picture)).convert("RGB").resize((_TILE, _TILE)) for picture in pictures[:_MOST]]
    if tiles:
        _montage(tiles, [("found", _FOUND)]).save(path)


def _plane(truth: Truth, z: int) -> NDArray[float32]:
    files = sorted(truth.series_folder.glob("*.dcm"))
    return np.asarray(pydicom.dcmread(files[z]).pixel_array, dtype=float32)


def _tile(plane: NDArray[float32], true: NDArray[bool_], found: NDArray[bool_]) -> Image.Image:
    grey = Image.fromarray(np.asarray(np.clip(plane, 0, 1) * 255, dtype=uint8)).resize((_TILE, _TILE))
    picture = np.array(grey.convert("RGB"))
    for mask, colour in ((true, _TRUE), (found, _FOUND)):
        large = np.array(Image.fromarray(mask).resize((_TILE, _TILE), Image.Resampling.NEAREST), dtype=bool)
        picture[large & ~ndimage.binary_erosion(large, iterations=2)] = colour
    return Image.fromarray(picture)


def _montage(tiles: Sequence[Image.Image], legend: Sequence[tuple[str, tuple[int, int, int]]]) -> Image.Image:
    columns = min(_COLUMNS, len(tiles))
    rows = -(-len(tiles) // columns)
    step = _TILE + _GAP
    page = Image.new("RGB", (columns * step + _GAP, rows * step + _GAP + _LEGEND), _PAGE)
    for index, tile in enumerate(tiles):
        page.paste(tile, (_GAP + index % columns * step, _GAP + index // columns * step))
    draw = ImageDraw.Draw(page)
    left, top = _GAP, rows * step + _GAP
    for words, colour in legend:
        draw.rectangle((left, top + 5, left + 12, top + 17), fill=colour)
        draw.text((left + 20, top + 4), words, fill=(230, 236, 240))
        left += 40 + 8 * len(words)
    return page
