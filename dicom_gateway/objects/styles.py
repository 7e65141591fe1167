"""How a destination wants its objects numbered, named and encoded."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ObjectStyle:
    """The style of the objects of a destination; None leaves what every other destination gets."""

    series_number_base: int | None = None
    series_description: str | None = None
    character_set: str | None = None


DEFAULT_STYLE = ObjectStyle()
