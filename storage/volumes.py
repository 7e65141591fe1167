"""Images as regular grids, and what is drawn on them.

Arrays are ``[z, y, x]`` throughout: ``z`` counts slices along the slice normal, ``y`` rows, ``x`` columns.
Directions and positions are in the DICOM patient coordinate system (LPS, millimetres; PS3.3 C.7.6.2.1.1).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from numpy import float32, uint8
    from numpy.typing import NDArray

Vector = tuple[float, float, float]


class Extent(StrEnum):
    """What is known of an image's size in the patient, and so which measurements mean anything.

    VOLUME: millimetres in three directions. AREA: one plane of known pixel spacing. UNKNOWN: no calibration at all; the
    spacing of its geometry is a placeholder of 1.
    """

    VOLUME = "volume"
    AREA = "area"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class FrameRef:
    """One image plane of a volume, by its stored instance.

    ``frame_number`` counts from 1 inside a multi-frame instance and is None for a single-frame one;
    ``digest`` is the object store's key of the Part 10 file.
    """

    sop_instance_uid: str
    sop_class_uid: str
    frame_number: int | None
    digest: str


@dataclass(frozen=True, slots=True)
class Geometry:
    """How a ``[z, y, x]`` grid lies in the patient: unit directions, spacing and the centre of voxel (0, 0, 0)."""

    origin_mm: Vector
    row_direction: Vector
    column_direction: Vector
    slice_direction: Vector
    spacing_mm: Vector
    """Distance between voxel centres along (z, y, x)."""

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in millilitres."""
        z, y, x = self.spacing_mm
        return z * y * x / 1000.0


@dataclass(frozen=True, slots=True, eq=False)
class Volume:
    """One series as a regular grid, in stored units after rescale (HU for CT), lightest assumption about anything.

    ``row_direction`` runs along increasing ``x`` (the first three values of ImageOrientationPatient),
    ``column_direction`` along increasing ``y``, ``slice_direction`` along increasing ``z``.
    ``frames[z]`` names the stored plane that slice ``z`` came from.
    """

    voxels: NDArray[float32]
    geometry: Geometry
    modality: str
    study_instance_uid: str
    series_instance_uid: str
    frame_of_reference_uid: str | None
    frames: tuple[FrameRef, ...]
    description: str = ""
    body_part: str = ""
    extent: Extent = Extent.VOLUME


@dataclass(frozen=True, slots=True, eq=False)
class LabelMap:
    """Segment numbers on the source grid: 0 is background, ``n`` belongs to the finding or structure of that number."""

    labels: NDArray[uint8]
    frames: tuple[FrameRef, ...]
