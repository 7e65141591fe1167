"""Which of several usable series a route wants most: each of its preferences that holds is worth some points."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from storage.routes.regions import matches
from storage.routes.route import Preference
from workers.imaging.instances import InstanceHeader
from workers.imaging.planes import Plane

_MOSTLY = 0.8
"""Cosine from which a plane counts as lying along a main plane of the body."""
_NO_ANATOMY = frozenset(
    {"P", "PHASE", "PHASE MAP", "R", "REAL", "I", "IMAGINARY", "F", "FAT", "B0", "B0 MAP", "FIELD_MAP", "VELOCITY MAP"}
)
"""Values of ImageType and FrameType, from the third on, of complex and of fat images."""
_PLANE_NAMES = ("sagittal", "coronal", "axial")


def points(preferences: Sequence[Preference], header: InstanceHeader, slices: int) -> int:
    """Return the sum of the points of every preference that holds for a series of ``slices`` planes, by one header."""
    return sum(preference.points for preference in preferences if holds(preference, header, slices))


def holds(preference: Preference, header: InstanceHeader, slices: int) -> bool:
    """Say whether a series has every trait that a preference names."""
    return all(trait(preference, header, slices) for trait in _TRAITS)


def is_no_anatomy(header: InstanceHeader) -> bool:
    """Say whether the images show phase, a field, or fat alone, where another part of the scan shows the anatomy."""
    return any(_NO_ANATOMY.intersection(plane.acquisition.component) for plane in header.planes[:1])


def main_plane(plane: Plane) -> str:
    """Return axial, coronal or sagittal, or nothing for a plane that lies between them."""
    row, column = plane.row_direction, plane.column_direction
    normal = (
        row[1] * column[2] - row[2] * column[1],
        row[2] * column[0] - row[0] * column[2],
        row[0] * column[1] - row[1] * column[0],
    )
    steepest = max(range(3), key=lambda axis: abs(normal[axis]))
    return _PLANE_NAMES[steepest] if abs(normal[steepest]) > _MOSTLY else ""


def _description(wanted: Preference, header: InstanceHeader, _slices: int) -> bool:
    return wanted.description is None or matches(wanted.description, header.description)


def _plane(wanted: Preference, header: InstanceHeader, _slices: int) -> bool:
    return wanted.plane is None or any(main_plane(plane) == wanted.plane for plane in header.planes[:1])


def _slices(wanted: Preference, _header: InstanceHeader, slices: int) -> bool:
    return wanted.minimum_slices is None or slices >= wanted.minimum_slices


def _inversion(wanted: Preference, header: InstanceHeader, _slices: int) -> bool:
    if wanted.minimum_inversion_ms is None:
        return True
    inversion = header.inversion_time_ms
    recovers = "IR" in header.scanning_sequence or not header.scanning_sequence
    return recovers and inversion is not None and inversion > wanted.minimum_inversion_ms


def _echo(wanted: Preference, header: InstanceHeader, _slices: int) -> bool:
    if wanted.minimum_echo_ms is None:
        return True
    echo = header.planes[0].acquisition.echo_ms if header.planes else None
    return echo is not None and echo >= wanted.minimum_echo_ms


def _contrast(wanted: Preference, header: InstanceHeader, _slices: int) -> bool:
    return wanted.contrast is None or wanted.contrast == header.contrast_agent


def _derived(wanted: Preference, header: InstanceHeader, _slices: int) -> bool:
    return wanted.derived is None or wanted.derived == ("DERIVED" in header.image_type[:1])


_TRAITS: tuple[Callable[[Preference, InstanceHeader, int], bool], ...] = (
    _description,
    _plane,
    _slices,
    _inversion,
    _echo,
    _contrast,
    _derived,
)
