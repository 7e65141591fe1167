"""Turn volumes between axis orders: the project's ``[z, y, x]`` (SPL) and whatever a 3D model was trained on.

An order is three letters, the direction to which each axis runs, first axis first: S or I, A or P, R or L.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from workers.errors import ModelUnsuitable

PROJECT_AXES = "SPL"
"""Volumes of this project: ``z`` to the head, ``y`` to the back, ``x`` to the patient's left."""
LINES = ("SI", "AP", "RL")


def turned(volume: Tensor, wanted: str, *, held: str = PROJECT_AXES) -> Tensor:
    """Permute and flip the last three axes of ``[n, c, *size]`` from the order ``held`` to the order ``wanted``."""
    sources = _sources(wanted, held)
    arranged = volume.permute(0, 1, *(2 + source for source in sources))
    flipped = [2 + axis for axis, source in enumerate(sources) if wanted[axis] != held[source]]
    return arranged.flip(flipped).contiguous()


def turned_sizes(sizes: Sequence[float], wanted: str, *, held: str = PROJECT_AXES) -> tuple[float, ...]:
    """Bring sizes or spacings from the order ``held`` to the order ``wanted``."""
    return tuple(sizes[source] for source in _sources(wanted, held))


def _sources(wanted: str, held: str) -> list[int]:
    lines = [[next((line for line in LINES if letter in line), "") for letter in order] for order in (wanted, held)]
    if any(sorted(order) != sorted(LINES) for order in lines):
        raise ModelUnsuitable(f"{wanted} and {held} are not both an order of three axes such as RAS: correct the card")
    return [lines[1].index(line) for line in lines[0]]
