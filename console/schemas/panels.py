"""Panels, which show why a finding is one."""

from __future__ import annotations

from console.record_schema import RecordSchema


class TileForm(RecordSchema):
    """One square of a panel's picture."""

    tile: str
    decides: bool | None


class PanelForm(RecordSchema):
    """The panel of one finding: its picture, and what the maps hold inside and outside the mask, each in 0..1.

    From left to right the picture shows the ``tiles`` of one axial plane; ``decides`` says of each whether it took part
    in the decision, null where that was not recorded. ``attention`` is the score where that is a tile; a residual is
    null where none was drawn. ``slice_index`` counts the slices of the series from 0, and is null where they are not
    axial.
    """

    number: int
    picture: str
    slice_index: int | None
    attention_inside: float
    attention_outside: float
    residual_inside: float | None
    residual_outside: float | None
    tiles: list[TileForm]
