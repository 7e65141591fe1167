"""Odd series as scanners, archives and converters leave them, each made from one small series of a head.

Every function takes data sets and returns new ones; what it is given stays as it was.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

from storage.uids import deterministic_uid
from tests.support.dicom import SeriesPlan, compressed, part10, series, set_pixels

Pixels = NDArray[np.int64]
Sent = Dataset | tuple[bytes, Dataset]
"""An instance, or its bytes where no library would write them, beside the instance that names it."""

PLAN = SeriesPlan(key="head", shape=(12, 40, 40), spacing_mm=(5.0, 4.0, 4.0), origin_mm=(-78.0, -78.0, -30.0))
SIDE = PLAN.shape[1]


def body() -> NDArray[np.bool_]:
    """Return where the head is, ``[z, y, x]``: a disc that touches no border."""
    y, x = np.mgrid[:SIDE, :SIDE]
    disc = (y - 19.5) ** 2 / 15**2 + (x - 19.5) ** 2 / 12**2 < 1
    return np.array(np.broadcast_to(disc, PLAN.shape), dtype=bool)


def anatomy() -> Pixels:
    """Return the head's stored values, different from slice to slice and smooth within one, over a dark background."""
    z, y, x = np.indices(PLAN.shape)
    tissue = 300 + 40 * np.sin(x / 4.0) + 50 * np.cos(y / 5.0 + z / 3.0) + 5 * z
    lesion = (x - 24) ** 2 + (y - 16) ** 2 + (2 * (z - 6)) ** 2 < 5**2
    values = np.where(body(), tissue + 250 * lesion, (x * 7 + y * 3 + z) % 5)
    return np.asarray(np.rint(values), dtype=np.int64)


def head(**attributes: object) -> list[Dataset]:
    """Return the plain series, with some attributes set on every image."""
    images = [with_pixels(image, values) for image, values in zip(series(PLAN), anatomy(), strict=True)]
    return changed(images, **attributes)


def with_pixels(image: Dataset, values: NDArray[Any], *, signed: bool = False, bits: int = 12) -> Dataset:
    """Return the image with other stored values ``[y, x]``; they may have bits above ``bits``."""
    other = copy.deepcopy(image)
    photometric = image.get("PhotometricInterpretation", "MONOCHROME2")
    set_pixels(other, np.asarray(values).astype(np.int64).astype(np.uint16))
    other.PixelRepresentation, other.BitsStored, other.HighBit = int(signed), bits, bits - 1
    other.PhotometricInterpretation = photometric
    return other


def changed(images: Iterable[Dataset], **attributes: object) -> list[Dataset]:
    """Return the images with attributes set; None deletes one."""
    copies = [copy.deepcopy(image) for image in images]
    for image in copies:
        for keyword, value in attributes.items():
            if value is None:
                if keyword in image:
                    delattr(image, keyword)
            else:
                setattr(image, keyword, copy.deepcopy(value))
    return copies


def each(images: Iterable[Dataset], change: Callable[[int, Dataset], None]) -> list[Dataset]:
    """Return the images, each changed by what depends on its number."""
    copies = [copy.deepcopy(image) for image in images]
    for number, image in enumerate(copies):
        change(number, image)
    return copies


def again(image: Dataset, mark: str = "2", **attributes: object) -> Dataset:
    """Return the image under another SOP Instance UID."""
    (copied,) = changed([image], **attributes)
    copied.SOPInstanceUID = f"{image.SOPInstanceUID}.{mark}"
    return copied


def scaled(image: Dataset, factor: float) -> Dataset:
    """Return the image with other stored values."""
    values = np.frombuffer(image.PixelData, dtype="<u2").reshape(image.Rows, image.Columns)
    return with_pixels(image, np.rint(values * factor))


def repeated(images: Sequence[Dataset], *, factor: float = 0.5, mark: str = "2", **attributes: object) -> list[Dataset]:
    """Return the images a second time: other UIDs, numbers and values, and what tells them apart."""
    copies = [again(scaled(image, factor), mark, **attributes) for image in images]
    for number, image in enumerate(copies, start=101):
        image.InstanceNumber = number
    return copies


def another_series(images: Iterable[Dataset], key: str, **attributes: object) -> list[Dataset]:
    """Return the images as another series of the study; their SOP Instance UIDs stay."""
    return changed(images, SeriesInstanceUID=deterministic_uid("odd-series", key), **attributes)


def renamed(images: Iterable[Dataset], mark: str) -> list[Dataset]:
    """Return the images under other SOP Instance UIDs."""
    return [again(image, mark) for image in images]


def with_overlays(images: Iterable[Dataset], syntax: str | None = None) -> list[Dataset]:
    """Return 12-bit images with an overlay in bit 12, as old consoles wrote, then losslessly compressed."""
    marked = []
    for image, values in zip(images, anatomy(), strict=True):
        drawn = values.copy()
        drawn[4:9, 6:30] |= 0x1000
        other = with_pixels(image, drawn, bits=16 if syntax else 12)
        other = compressed(other, syntax) if syntax else other
        other.BitsStored, other.HighBit = 12, 11
        marked.append(other)
    return marked


def filled(
    images: Iterable[Dataset], outside: NDArray[np.bool_], fill: NDArray[Any] | int, *, declare: int | None = None
) -> list[Dataset]:
    """Return signed 16-bit images whose background is something else, declared as PixelPaddingValue or not."""
    values = np.where(outside, fill, anatomy())
    images = [with_pixels(image, plane, signed=True, bits=16) for image, plane in zip(images, values, strict=True)]
    if declare is not None:
        for image in images:
            image.add_new(0x00280120, "SS", declare)
    return images


def survey(*, planes: int = 3, **attributes: object) -> list[Dataset]:
    """Return a few planes in each of three perpendicular directions."""
    directions = {
        "axial": ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0)),
        "coronal": ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0)),
        "sagittal": ((0.0, 1.0, 0.0), (0.0, 0.0, -1.0)),
    }
    images = []
    for name, pair in directions.items():
        plan = replace(PLAN, key=name, directions=pair, shape=(planes, SIDE, SIDE), spacing_mm=(10.0, 4.0, 4.0))
        images += changed(series(plan), SeriesInstanceUID=PLAN.uid("series"), EchoTime="4", **attributes)
    return images


def turned(images: Sequence[Dataset]) -> list[Dataset]:
    """Return the images stored rotated by 180 degrees within their plane, header and pixels alike."""
    return [_rearranged(image, lambda plane: plane[::-1, ::-1], row=-1, column=-1) for image in images]


def upwards(images: Sequence[Dataset]) -> list[Dataset]:
    """Return the images with their columns running upwards, so that their normal points to the feet."""
    return [_rearranged(image, lambda plane: plane[::-1], row=1, column=-1) for image in images]


def _rearranged(image: Dataset, change: Callable[[NDArray[Any]], NDArray[Any]], *, row: int, column: int) -> Dataset:
    values = np.frombuffer(image.PixelData, dtype="<u2").reshape(image.Rows, image.Columns)
    other = with_pixels(image, change(values))
    x, y, z = (float(value) for value in image.ImagePositionPatient)
    vertical, horizontal = (float(value) for value in image.PixelSpacing)
    x += (image.Columns - 1) * horizontal if row < 0 else 0.0
    y += (image.Rows - 1) * vertical if column < 0 else 0.0
    other.ImagePositionPatient = [x, y, z]
    other.ImageOrientationPatient = [row, 0, 0, 0, column, 0]
    return other


def sagittal() -> list[Dataset]:
    """Return the same head in sagittal slices."""
    values = anatomy()
    x0, y0, z0 = PLAN.origin_mm
    dz, dy, dx = PLAN.spacing_mm
    images = []
    for column in range(SIDE):
        image = again(head()[0], str(column + 3))
        image = with_pixels(image, values[::-1, :, column])
        image.ImagePositionPatient = [x0 + column * dx, y0, z0 + (PLAN.shape[0] - 1) * dz]
        image.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
        image.PixelSpacing = [dz, dy]
        images.append(image)
    return images


def leaning(*, degrees: float, decimals: int, along_normal: bool = True) -> list[Dataset]:
    """Return slices tilted about the x axis, cosines rounded; the stack runs along their normal, or along z (tilt)."""
    angle = np.radians(degrees)
    column = np.array([0.0, np.cos(angle), np.sin(angle)])
    step = np.array([0.0, -np.sin(angle), np.cos(angle)]) if along_normal else np.array([0.0, 0.0, 1.0])
    images = head()
    for number, image in enumerate(images):
        position = np.array(PLAN.origin_mm) + number * PLAN.spacing_mm[0] * step
        image.ImagePositionPatient = [float(f"{value:.6f}") for value in position]
        image.ImageOrientationPatient = [1, 0, 0, *(round(float(value), decimals) for value in column)]
        image.PixelSpacing = [0.9, 0.9]
    return images


def jittered(images: Sequence[Dataset], *, by_mm: float = 0.02) -> list[Dataset]:
    """Return the images with their positions to and back along the normal."""

    def move(number: int, image: Dataset) -> None:
        x, y, z = image.ImagePositionPatient
        image.ImagePositionPatient = [x, y, round(float(z) + (by_mm if number % 2 else -by_mm), 3)]

    return each(images, move)


def with_commas(image: Dataset) -> Sent:
    """Return the image with decimal commas in PixelSpacing and SliceThickness, which no library writes."""
    (other,) = changed([image], PixelSpacing=[4.25, 4.25], SliceThickness="5.4375")
    return part10(other).replace(b"4.25\\4.25", b"4,25\\4,25").replace(b"5.4375", b"5,4375"), other


def as_unlimited_text(image: Dataset) -> Dataset:
    """Return the image with its numbers as one text of VR UT, as some converters write them."""
    (other,) = changed([image])
    for keyword in ("PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient"):
        text = "\\".join(str(value) for value in image[keyword].value)
        other.add_new(image[keyword].tag, "UT", text)
    return other


def with_own_meta(image: Dataset) -> Sent:
    """Return the image with a transfer syntax of its own at the head of its data set, where none belongs."""
    content = part10(image)
    meta = int.from_bytes(content[140:144], "little")
    uid = b"1.2.840.10008.1.2.2\0"
    false = bytes.fromhex("02001000") + b"UI" + len(uid).to_bytes(2, "little") + uid
    return content[: 144 + meta] + false + content[144 + meta :], image


def empty_groups(image: Dataset) -> Dataset:
    """Return the single-frame image with functional groups that hold nothing."""
    (other,) = changed([image])
    other.SharedFunctionalGroupsSequence = Items([Dataset()])
    other.PerFrameFunctionalGroupsSequence = Items([Dataset()])
    return other
