"""One projection, ultrasound image or capture becomes a volume of one slice, as bright as a reader sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy import float32
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames

from storage.objects import ObjectStore
from storage.volumes import FrameRef, Geometry, Volume
from workers.errors import CineNotSupported, UnreadableInstance, UnsuitableVolume
from workers.imaging.image_spacing import PIXEL_SIZE_KEYWORDS, PixelSize, read_pixel_size
from workers.imaging.instances import InstanceHeader
from workers.imaging.luminance import COLOUR_KEYWORDS, is_colour, luminance
from workers.imaging.parsing import DEFAULT_LIMITS, ReadLimits, parsing, read_dataset
from workers.imaging.pixels import decode_frames
from workers.imaging.voi import VOI_KEYWORDS, Shown, shown

FOR_PROCESSING = "FOR PROCESSING"
RAW_IMAGE = "for_processing"
_KEYWORDS = tuple(dict.fromkeys((*VOI_KEYWORDS, *COLOUR_KEYWORDS, *PIXEL_SIZE_KEYWORDS)))
_JFIF = b"JFIF\0"
_JFIF_WITHIN = 32


@dataclass(frozen=True, slots=True, eq=False)
class ReadImage:
    """An image as a volume of one slice, and coded notes on how it was read."""

    volume: Volume
    notes: tuple[str, ...] = ()


def read_image(header: InstanceHeader, objects: ObjectStore, *, limits: ReadLimits = DEFAULT_LIMITS) -> ReadImage:
    """Read one single-frame image: ``voxels`` are float32 ``[1, rows, columns]`` from 0 (black) to 255 (white).

    Colour counts by its luminance. The geometry lies in no patient: origin 0, unit axes, a slice distance of 1, and the
    spacing that ``volume.extent`` speaks of.

    CineNotSupported for several frames; UnsuitableVolume for a colour model that is not read, one value everywhere, or
    too many pixels; UnreadableInstance and OversizedInstance from the file.
    """
    _require_single(header)
    _require_modest(header, limits)
    digest = header.stored.digest
    dataset = read_dataset(objects, digest, limits=limits, keywords=_KEYWORDS)
    frame = next(decode_frames(objects, digest, limits=limits))
    if frame.shape[:2] != (header.rows, header.columns):
        raise UnreadableInstance(f"object {digest[:12]}: the pixels are not what the header promises")
    with parsing(digest, doing="reading how the image is shown"):
        seen = _shown(frame, dataset, header, objects)
        size = read_pixel_size(dataset, modality=header.stored.modality.upper())
    raw = (RAW_IMAGE,) if header.intent == FOR_PROCESSING else ()
    notes = tuple(note for note in (*seen.notes, size.note, *raw) if note)
    return ReadImage(_volume(header, seen.values, size), notes)


def _require_single(header: InstanceHeader) -> None:
    if header.frames > 1:
        raise CineNotSupported(
            f"instance ..{header.stored.sop_instance_uid[-12:]} holds {header.frames} frames;"
            " only single images are read, send the frame that matters as one"
        )


def _require_modest(header: InstanceHeader, limits: ReadLimits) -> None:
    if header.rows * header.columns > limits.voxels:
        raise UnsuitableVolume(
            f"the image has {header.rows}x{header.columns} pixels; the limit is {limits.voxels} altogether"
        )


def _shown(frame: NDArray[np.integer[Any]], dataset: Dataset, header: InstanceHeader, objects: ObjectStore) -> Shown:
    if not is_colour(header.photometric_interpretation):
        if frame.ndim != 2:  # noqa: PLR2004 - rows and columns
            raise UnsuitableVolume("a grey image has one sample for each pixel, this one has several")
        return shown(frame, dataset)
    return Shown(luminance(frame, dataset, transformed=_is_transformed(header, objects)))


def _is_transformed(header: InstanceHeader, objects: ObjectStore) -> bool:
    """Say whether a JPEG stream is marked as luminance and chrominance; some writers call the same image RGB."""
    if header.stored.transfer_syntax_uid != uid.JPEGBaseline8Bit or header.photometric_interpretation != "RGB":
        return False
    encoded = read_dataset(objects, header.stored.digest, limits=DEFAULT_LIMITS).PixelData
    return _JFIF in next(generate_frames(encoded, number_of_frames=1))[:_JFIF_WITHIN]


def _volume(header: InstanceHeader, grey: NDArray[float32], size: PixelSize) -> Volume:
    stored = header.stored
    return Volume(
        voxels=grey[None],
        geometry=Geometry(
            origin_mm=(0.0, 0.0, 0.0),
            row_direction=(1.0, 0.0, 0.0),
            column_direction=(0.0, 1.0, 0.0),
            slice_direction=(0.0, 0.0, 1.0),
            spacing_mm=(1.0, size.row_mm, size.column_mm),
        ),
        modality=stored.modality.upper(),
        study_instance_uid=stored.study_instance_uid,
        series_instance_uid=stored.series_instance_uid,
        frame_of_reference_uid=header.frame_of_reference_uid,
        frames=(FrameRef(stored.sop_instance_uid, stored.sop_class_uid, None, stored.digest),),
        description=f"{header.description} {header.view}".strip(),
        body_part=header.body_part,
        extent=size.extent,
    )
