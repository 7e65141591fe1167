"""Tables on the report page: how much of each there is room for, and drawing it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dicom_gateway.objects.page_canvas import INNER, MARGIN, Ink, Lettering, Sheet
from dicom_gateway.objects.page_fonts import Face, fitted, width, wrapped
from dicom_gateway.objects.page_tables import Column, Table

_CELL = Lettering(8.5)
_HEADING = Lettering(7.5, ink=Ink.GREY)
_LINE = 11.0
_ROW_GAP = 3.5
_TITLE = 15.0
_HEADINGS = 14.0
_REST = 12.0
_AFTER = 10.0
_BETWEEN_COLUMNS = 10.0

Cell = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FittedTable:
    """A table as it is drawn: how wide its columns are, and the lines of each cell of each row there is room for."""

    table: Table
    widths: tuple[float, ...]
    rows: tuple[tuple[Cell, ...], ...]

    @property
    def left_out(self) -> int:
        """How many entries there is no room for."""
        return max(self.table.count - len(self.rows) * self.table.entries_per_row, 0)

    @property
    def height(self) -> float:
        """Height in points, with the space below it."""
        rows = sum(_height(row) for row in self.rows)
        return _TITLE + _HEADINGS + rows + (_REST if self.left_out else 0.0) + _AFTER


def fit_tables(tables: Sequence[Table], *, room: float) -> tuple[FittedTable, ...]:
    """Return as much of each table as there is room for; the later ones get their heading and what is left.

    Where not every row finds room, texts that are long end after one line instead of two.
    """
    for lines in (2, 1):
        fitted_tables = _fit_all(tables, room=room, lines=lines)
        if not any(table.left_out for table in fitted_tables):
            break
    return fitted_tables


def _fit_all(tables: Sequence[Table], *, room: float, lines: int) -> tuple[FittedTable, ...]:
    fitted_tables = []
    frame = _TITLE + _HEADINGS + _REST + _AFTER
    for place, table in enumerate(tables):
        kept_for_others = sum(frame + min(len(other.rows), 2) * (_LINE + _ROW_GAP) for other in tables[place + 1 :])
        one = _fit(table, room=room - kept_for_others - frame, lines=lines)
        room -= one.height
        fitted_tables.append(one)
    return tuple(fitted_tables)


def draw_table(sheet: Sheet, fitted_table: FittedTable, y: float) -> float:
    """Draw a table from a height on and return where it ends."""
    table, widths = fitted_table.table, fitted_table.widths
    places = list(zip(table.columns, _lefts(widths), widths, strict=True))
    sheet.text(MARGIN, y + 9, table.title, Lettering(10.0, Face.STRONG))
    y += _TITLE
    for column, x, wide in places:
        _write(sheet, column, (x, y + 8, wide), column.heading, _HEADING)
    y += _HEADINGS
    sheet.line(y - 2, Ink.GREY)
    for row in fitted_table.rows:
        for (column, x, wide), cell in zip(places, row, strict=True):
            for number, line in enumerate(cell):
                _write(sheet, column, (x, y + 9 + number * _LINE, wide), line, _CELL)
        y += _height(row)
        sheet.line(y - 1.5)
    if fitted_table.left_out:
        y += _REST
        sheet.text(MARGIN, y - 2, f"and {fitted_table.left_out} more that this page has no room for.", _HEADING)
    return y + _AFTER


def _fit(table: Table, *, room: float, lines: int) -> FittedTable:
    widths = _widths(table)
    rows: list[tuple[Cell, ...]] = []
    for cells in table.rows:
        row = tuple(
            _lines(text, column, wide, most=lines)
            for text, column, wide in zip(cells, table.columns, widths, strict=True)
        )
        room -= _height(row)
        # The line that counts what is left out is part of the frame: the last row may have its place.
        if room < (-_REST if len(rows) + 1 == len(table.rows) else 0.0):
            break
        rows.append(row)
    return FittedTable(table, widths, tuple(rows))


def _widths(table: Table) -> tuple[float, ...]:
    """Return the width of each column: what its longest text needs; where that is too much, long texts give way.

    What is left over goes to the columns of text by their shares.
    """
    needed = [_needed(table, place) for place in range(len(table.columns))]
    room = INNER - _BETWEEN_COLUMNS * (len(needed) - 1)
    wide = [place for place, column in enumerate(table.columns) if not column.is_number]
    spare = room - sum(needed)
    while spare < 0.0 and wide:
        fair = (sum(needed[place] for place in wide) + spare) / len(wide)
        modest = [place for place in wide if needed[place] <= fair]
        if not modest:
            return tuple(fair if place in wide else one for place, one in enumerate(needed))
        wide = [place for place in wide if place not in modest]
    shares = sum(table.columns[place].share for place in wide)
    return tuple(
        one + (spare * table.columns[place].share / shares if place in wide else 0.0)
        for place, one in enumerate(needed)
    )


def _needed(table: Table, place: int) -> float:
    heading = width(table.columns[place].heading, _HEADING.face, _HEADING.size)
    return max([heading, *(width(row[place], _CELL.face, _CELL.size) for row in table.rows)]) + 0.5


def _lines(text: str, column: Column, wide: float, *, most: int) -> Cell:
    if column.is_number:
        return (fitted(text, Face.TEXT, _CELL.size, within=wide),)
    return wrapped(text, Face.TEXT, _CELL.size, within=wide, most=most)


def _height(row: tuple[Cell, ...]) -> float:
    return max(1, *(len(cell) for cell in row)) * _LINE + _ROW_GAP


def _lefts(widths: Sequence[float]) -> list[float]:
    """Return the left edge of each column."""
    return [MARGIN + sum(widths[:place]) + place * _BETWEEN_COLUMNS for place in range(len(widths))]


def _write(sheet: Sheet, column: Column, place: tuple[float, float, float], text: str, lettering: Lettering) -> None:
    """Write into a cell at (left, base line, width)."""
    x, y, wide = place
    if column.is_number:
        sheet.text_to(x + wide, y, text, lettering)
    else:
        sheet.text(x, y, text, lettering)
