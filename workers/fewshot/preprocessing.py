"""From pictures of any size to the tensor that a backbone takes, by a stored specification and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy import float32
from numpy.typing import NDArray
from PIL import Image

from workers.errors import UnreadablePicture
from workers.fewshot.contracts import Framing, Interpolation, Mask, Picture, Preprocessing

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
_RESAMPLING = {
    Interpolation.BILINEAR: Image.Resampling.BILINEAR,
    Interpolation.BICUBIC: Image.Resampling.BICUBIC,
}
_MOST_PIXELS = 64_000_000
_BLACK, _WHITE = 1.0, 99.5
"""Percentiles."""


def to_tensor(pictures: Sequence[Picture], preprocessing: Preprocessing) -> torch.Tensor:
    """Return float32 ``[n, 3, size, size]``, normalised; UnreadablePicture names the first of a wrong shape."""
    planes = np.stack([_resized(picture, preprocessing, index) for index, picture in enumerate(pictures)])
    mean, std = (torch.tensor(value).view(1, 3, 1, 1) for value in (preprocessing.mean, preprocessing.std))
    return (torch.from_numpy(planes).permute(0, 3, 1, 2) / 255.0 - mean) / std


def grey_levels(values: NDArray[float32]) -> tuple[float, float]:
    """Return what is black and what is white of an image or a volume: robust against noise and glare."""
    low, high = (float(value) for value in np.percentile(values, (_BLACK, _WHITE)))
    return low, high


def grey_picture(plane: NDArray[float32], black: float, white: float) -> Picture:
    """Return a plane ``[y, x]`` as a grey picture."""
    grey = np.clip((plane - black) / (white - black if white > black else 1.0), 0.0, 1.0)
    return np.repeat(np.asarray(np.round(grey * 255), dtype=np.uint8)[..., None], 3, axis=2)


def windowed(picture: Picture) -> Picture:
    """Return a picture as the same image from a modality is seen: its luminance, from its own black to its white."""
    luminance = np.asarray(Image.fromarray(picture).convert("L"), dtype=float32)
    return grey_picture(luminance, *grey_levels(luminance))


def cell_weights(mask: Mask, preprocessing: Preprocessing, *, cells: tuple[int, int]) -> NDArray[float32]:
    """Return the share of each grid cell ``[h, w]`` that the mask covers, in the backbone's frame of the picture."""
    plane = Image.fromarray(mask.astype(np.uint8) * 255)
    framed = _framed(plane, preprocessing).resize((cells[1], cells[0]), Image.Resampling.BOX)
    return np.asarray(framed, dtype=float32) / float32(255)


def _resized(picture: Picture, preprocessing: Preprocessing, index: int) -> NDArray[float32]:
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8 or min(picture.shape[:2]) < 1:  # noqa: PLR2004 - rows, columns and three colours
        raise UnreadablePicture(f"picture {index}: expected uint8 [y, x, 3], got {picture.dtype} {picture.shape}")
    if picture.shape[0] * picture.shape[1] > _MOST_PIXELS:
        raise UnreadablePicture(f"picture {index}: {picture.shape[0]} x {picture.shape[1]} pixels are too many")
    framed = _framed(Image.fromarray(picture), preprocessing)
    side, resampling = preprocessing.size, _RESAMPLING[preprocessing.interpolation]
    return np.asarray(framed.resize((side, side), resampling), dtype=float32)


def _framed(picture: Image.Image, preprocessing: Preprocessing) -> Image.Image:
    """Cut or fill to a square where the specification says so; a picture to be stretched stays as it is."""
    width, height = picture.size
    if preprocessing.fit is Framing.STRETCH or width == height:
        return picture
    side = min(width, height) if preprocessing.fit is Framing.CENTRE_CROP else max(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return picture.crop((left, top, left + side, top + side))


def from_processor(content: dict[str, Any], *, fallback: Preprocessing) -> Preprocessing:
    """Translate the ``preprocessor_config.json`` that encoders are published with; what it leaves out is as fallback.

    Any ratio of crop to resize is left out: tissue at the border of a radiograph must not be cut off.
    """
    crop = content.get("crop_size") if content.get("do_center_crop") else None
    mean, std = content.get("image_mean") or fallback.mean, content.get("image_std") or fallback.std
    bilinear = content.get("resample") == int(Image.Resampling.BILINEAR)
    return Preprocessing(
        _side(crop) or _side(content.get("size")) or fallback.size,
        (float(mean[0]), float(mean[1]), float(mean[2])),
        (float(std[0]), float(std[1]), float(std[2])),
        Interpolation.BILINEAR if bilinear else fallback.interpolation,
        fallback.fit,
    )


def _side(size: Any) -> int | None:
    if isinstance(size, dict):
        size = size.get("height") or size.get("shortest_edge")
    return int(size) if size else None
