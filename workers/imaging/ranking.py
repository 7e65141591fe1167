"""Which of several usable series an analyser wants most: a table of preferences, each worth some points."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from workers.imaging.instances import InstanceHeader

_LONG_INVERSION_MS = 1500.0
_AXIAL_COSINE = 0.8
_MANY_SLICES = 15


@dataclass(frozen=True, slots=True)
class Preference:
    """One reason to prefer a series (or, with negative points, to avoid it), judged by its first header."""

    name: str
    points: int
    holds: Callable[[InstanceHeader, int], bool]
    """Called with the first header and the number of slices."""


def _named(pattern: str) -> Callable[[InstanceHeader, int], bool]:
    compiled = re.compile(pattern)

    def holds(header: InstanceHeader, _slices: int) -> bool:
        # Underscores join words in many sites' names; as word characters they would hide the ends of words.
        return compiled.search(header.description.replace("_", " ")) is not None

    return holds


def _inverts_late(header: InstanceHeader, _slices: int) -> bool:
    inversion = header.inversion_time_ms
    return "IR" in header.scanning_sequence and inversion is not None and inversion > _LONG_INVERSION_MS


def _is_axial(header: InstanceHeader, _slices: int) -> bool:
    if not header.planes:
        return False
    row, column = header.planes[0].row_direction, header.planes[0].column_direction
    return abs(row[0] * column[1] - row[1] * column[0]) > _AXIAL_COSINE


def _has_contrast(header: InstanceHeader, _slices: int) -> bool:
    return header.contrast_agent


def _has_many_slices(_header: InstanceHeader, slices: int) -> bool:
    return slices >= _MANY_SLICES


FLAIR_FIRST: tuple[Preference, ...] = (
    Preference("FLAIR by its name", 40, _named(r"FLAIR|DARK.?FLUID|\bTIRM\b")),
    Preference("inversion late enough to suppress fluid", 30, _inverts_late),
    Preference("T2 by its name", 15, _named(r"\bT2\b|\bT2W")),
    Preference("axial planes", 8, _is_axial),
    Preference("enough slices for a head", 5, _has_many_slices),
    Preference("contrast agent", -2, _has_contrast),
    Preference("T1 by its name", -5, _named(r"\bT1\b|\bT1W|MPRAGE|SPGR")),
    Preference("susceptibility or T2*", -10, _named(r"\bSWI\b|\bT2 ?\*|HEMO|\bGRE\b|\bSWAN\b")),
    Preference(
        "diffusion, perfusion, flow or function",
        -30,
        _named(r"\bDWI\b|\bADC\b|\bDTI\b|DIFF|PERF|\bDSC\b|\bDCE\b|\bASL\b|FMRI|BOLD|\bTOF\b|ANGIO|\bMRA\b|\bPC\b"),
    ),
)
"""For an analyser of head MR that was trained on FLAIR. On CT only planes and slice count score."""


def points(preferences: Sequence[Preference], header: InstanceHeader, slices: int) -> int:
    """Return the sum of the points of every preference that holds."""
    return sum(preference.points for preference in preferences if preference.holds(header, slices))
