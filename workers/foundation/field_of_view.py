"""Bring images to what a model was trained for: refuse another field of view, and turn volumes to its axes.

Outside its field of view a model puts out noise. An axis order is three letters, the direction to which each axis runs,
first axis first: S or I, A or P, R or L.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

from torch import Tensor

from workers.errors import FieldOfViewMismatch, FieldOfViewUnknown, ModelUnsuitable

if TYPE_CHECKING:
    from workers.foundation.card import Bounds, ModelCard

Size = TypeVar("Size", int, float)

ROUNDING_MM = 1e-3
"""Slack for spacings that went through single precision."""
PROJECT_AXES = "SPL"
"""Volumes of this project: ``z`` to the head, ``y`` to the back, ``x`` to the patient's left."""
LINES = ("SI", "AP", "RL")


def check(card: ModelCard, size: Sequence[int], spacing_mm: Sequence[float], *, modality: str, factor: int = 1) -> None:
    """Refuse an image by its size and spacing, in the model's axis order, and its DICOM Modality.

    Raises FieldOfViewUnknown where the card does not say what the model was trained for, and FieldOfViewMismatch that
    names the axis, the value and the limits; also where a side is no multiple of ``factor``.
    """
    if card.field_of_view is None:
        raise FieldOfViewUnknown(f"the card of {card.name} does not say what field of view it was trained for: add it")
    if card.modalities and modality not in card.modalities:
        trained = ", ".join(card.modalities)
        raise FieldOfViewMismatch(f"{card.name} was trained for {trained}, not {modality}: choose another model")
    uneven = [side for side in size if side % factor]
    if uneven:
        raise FieldOfViewMismatch(f"{card.name} takes sides that are multiples of {factor}, not {uneven[0]}: pad it")
    extent = [side * spacing for side, spacing in zip(size, spacing_mm, strict=True)]
    _within(card.field_of_view.spacing_mm, spacing_mm, f"the spacing for {card.name}")
    _within(card.field_of_view.extent_mm, extent, f"the field of view for {card.name}")


def _within(bounds: Bounds | None, values: Sequence[float], what: str) -> None:
    if bounds is None:
        return
    if len(bounds.low) != len(values):
        raise FieldOfViewMismatch(f"{what} has {len(bounds.low)} axes, the image {len(values)}: choose another model")
    for axis, (value, low, high) in enumerate(zip(values, bounds.low, bounds.high, strict=True)):
        if not low - ROUNDING_MM <= value <= high + ROUNDING_MM:
            raise FieldOfViewMismatch(
                f"{what} must lie within {low:g} to {high:g} mm on axis {axis}, not {value:g} mm: resample or crop"
            )


def turned(volume: Tensor, wanted: str, *, held: str = PROJECT_AXES) -> Tensor:
    """Return a volume ``[n, c, *size]`` with its axes brought from the order ``held`` to the order ``wanted``."""
    sources = _sources(wanted, held)
    arranged = volume.permute(0, 1, *(2 + source for source in sources))
    flipped = [2 + axis for axis, source in enumerate(sources) if wanted[axis] != held[source]]
    return arranged.flip(flipped).contiguous()


def turned_sizes(sizes: Sequence[Size], wanted: str, *, held: str = PROJECT_AXES) -> tuple[Size, ...]:
    """Return one number for each axis, such as the spacing, brought from the order ``held`` to the order ``wanted``."""
    return tuple(sizes[source] for source in _sources(wanted, held))


def _sources(wanted: str, held: str) -> list[int]:
    lines = [[next((line for line in LINES if letter in line), "") for letter in order] for order in (wanted, held)]
    if any(sorted(order) != sorted(LINES) for order in lines):
        raise ModelUnsuitable(f"{wanted} and {held} are not both an order of three axes such as RAS: correct the card")
    return [lines[1].index(line) for line in lines[0]]
