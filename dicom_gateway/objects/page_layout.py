"""How the report page looks: what a reader needs first stands highest, pictures get the room that text leaves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from PIL import Image

from dicom_gateway.objects.page_canvas import HEIGHT, INNER, MARGIN, WIDTH, Ink, Lettering, Sheet, opened
from dicom_gateway.objects.page_content import Fact, PageContent
from dicom_gateway.objects.page_fonts import Face, fitted, wrapped
from dicom_gateway.objects.page_grid import draw_table, fit_tables
from storage.domain import Priority

MOST_PICTURES = 6
_SMALL = Lettering(7.0, ink=Ink.GREY)
_LABEL = Lettering(7.5, ink=Ink.GREY)
_VALUE = Lettering(8.5)
_PRIORITY_INKS = {
    Priority.STAT: Ink.RED,
    Priority.HIGH: Ink.ORANGE,
    Priority.ROUTINE: Ink.BLUE,
    Priority.LOW: Ink.SLATE,
}
_HALF = (INNER - 20.0) / 2
_FACT_LABEL = 62.0
_ORIGIN_LABEL = 76.0
_LEAST_PICTURES = 128.0
_MOST_PICTURES = 270.0
_CAPTION = 12.0
_GAP = 8.0


@dataclass(frozen=True, slots=True)
class Grid:
    """How pictures of one shape are laid out: columns, and the size of each in points."""

    columns: int
    cell: tuple[float, float]


def draw_page(
    content: PageContent, pictures: Sequence[bytes], captions: Sequence[str] = (), *, author: str, moment: datetime
) -> bytes:
    """Return the page as a PDF file; the same content, pictures and moment give the same bytes.

    ``captions`` belong to the pictures in their order. Of more than six pictures six are shown. OSError where one
    cannot be read.
    """
    sheet = Sheet(title=content.title, author=author, moment=moment)
    y = _head(sheet, content)
    y = _people(sheet, content, y)
    y = _verdict(sheet, content, y)
    y = _cautions(sheet, content, y)
    floor = _foot(sheet, content)
    lines = (*captions, *[""] * len(pictures))
    shown = _chosen(list(zip(opened(pictures), lines, strict=False)))
    least = _LEAST_PICTURES if shown else 0.0
    tables = fit_tables(content.tables, room=floor - y - least)
    used = sum(table.height for table in tables)
    y = _pictures(sheet, shown, len(pictures), y, room=min(floor - y - used, _MOST_PICTURES))
    for table in tables:
        y = draw_table(sheet, table, y)
    return sheet.pdf()


def _head(sheet: Sheet, content: PageContent) -> float:
    words, _, rest = content.warning.partition(". ")
    sheet.box(0, 0, (WIDTH, 26), Ink.RED)
    end = sheet.text(MARGIN, 17, words, Lettering(9.0, Face.STRONG, Ink.WHITE))
    sheet.text(end + 10, 17, rest, Lettering(8.5, ink=Ink.WHITE))
    sheet.text(MARGIN, 56, content.title, Lettering(19.0, Face.STRONG))
    sheet.text_to(WIDTH - MARGIN, 56, content.modality, Lettering(12.0, ink=Ink.GREY))
    sheet.line(66)
    return 66.0


def _people(sheet: Sheet, content: PageContent, y: float) -> float:
    """Write who the patient is on the left and which study it is on the right."""
    left = _name(sheet, content, y + 18)
    value = replace(_VALUE, language=content.name.language)
    left = _facts(sheet, content.patient, (MARGIN, left), value)
    right = _facts(sheet, content.study, (MARGIN + _HALF + 20, y + 17), value)
    return max(left, right) - 3


def _name(sheet: Sheet, content: PageContent, y: float) -> float:
    name = content.name
    first = name.first or ("The name cannot be shown here" if not name.is_whole else "No name stated")
    strong = Lettering(12.0, Face.STRONG, language=name.language)
    sheet.text(MARGIN, y, fitted(first, Face.STRONG, 12.0, within=_HALF), strong)
    for other in name.others:
        y += 14
        sheet.text(MARGIN, y, fitted(other, Face.TEXT, 10.0, within=_HALF), Lettering(10.0, language=name.language))
    if not name.is_whole:
        y += 11
        sheet.text(MARGIN, y, "The name has letters that this page cannot show: see the images.", _SMALL)
    return y + 15


def _facts(sheet: Sheet, facts: Sequence[Fact], place: tuple[float, float], value: Lettering) -> float:
    x, y = place
    for fact in facts:
        sheet.text(x, y, fact.name, _LABEL)
        for line in wrapped(fact.value, value.face, value.size, within=_HALF - _FACT_LABEL, most=2):
            sheet.text(x + _FACT_LABEL, y, line, value)
            y += 12
    return y


def _verdict(sheet: Sheet, content: PageContent, y: float) -> float:
    """Write the priority as a coloured field, and beside it what was found and why it has that priority."""
    ink, height, field = _PRIORITY_INKS[content.priority], 44.0, 106.0
    sheet.box(MARGIN, y, (field, height), ink)
    sheet.centred(MARGIN + field / 2, y + 14, "PRIORITY", Lettering(6.5, Face.STRONG, Ink.WHITE))
    sheet.centred(MARGIN + field / 2, y + 34, content.priority.value, Lettering(18.0, Face.STRONG, Ink.WHITE))
    x, within = MARGIN + field + 14, INNER - field - 14
    lines = wrapped(content.headline, Face.STRONG, 14.0, within=within, most=1)
    sheet.text(x, y + 18, lines[0] if lines else "", Lettering(14.0, Face.STRONG))
    for line in wrapped(content.why, Face.TEXT, 8.5, within=within, most=1):
        sheet.text(x, y + 35, line, Lettering(8.5, ink=Ink.GREY))
    return y + height + 14


def _cautions(sheet: Sheet, content: PageContent, y: float) -> float:
    for caution in content.cautions:
        lines = wrapped(caution, Face.STRONG, 8.5, within=INNER - 16, most=2)
        height = 8.0 + 11.5 * len(lines)
        sheet.box(MARGIN, y, (INNER, height), Ink.PAPER)
        sheet.box(MARGIN, y, (3, height), Ink.ORANGE)
        for place, line in enumerate(lines):
            sheet.text(MARGIN + 11, y + 12 + 11.5 * place, line, Lettering(8.5, Face.STRONG))
        y += height + 8
    return y


def _pictures(sheet: Sheet, shown: Sequence[tuple[Image.Image, str]], count: int, y: float, *, room: float) -> float:
    if not shown:
        return y
    caption = _CAPTION if any(text for _, text in shown) else 0.0
    more = 11.0 if count > len(shown) else 0.0
    widest = max(picture.width / picture.height for picture, _ in shown)
    grid = _grid(len(shown), widest, room=room - 14 - more, caption=caption)
    wide, high = grid.cell
    left = MARGIN + (INNER - grid.columns * wide - (grid.columns - 1) * _GAP) / 2
    for place, (picture, text) in enumerate(shown):
        row, column = divmod(place, grid.columns)
        x, top = left + column * (wide + _GAP), y + row * (high + caption + _GAP)
        scale = min(wide / picture.width, high / picture.height)
        size = (picture.width * scale, picture.height * scale)
        sheet.picture(x + (wide - size[0]) / 2, top + (high - size[1]) / 2, size, picture)
        if text:
            sheet.text(x, top + high + 9, fitted(text, Face.TEXT, 7.0, within=wide), _SMALL)
    y += math.ceil(len(shown) / grid.columns) * (high + caption + _GAP) - _GAP
    if more:
        sheet.text(MARGIN, y + 9, f"{len(shown)} of {count} pictures.", _SMALL)
    return y + more + 14


def _grid(count: int, shape: float, *, room: float, caption: float) -> Grid:
    """Return the layout in which pictures of a shape (width by height) are largest."""
    best = Grid(1, (0.0, 0.0))
    for columns in range(1, count + 1):
        rows = math.ceil(count / columns)
        wide = (INNER - (columns - 1) * _GAP) / columns
        high = (room - rows * caption - (rows - 1) * _GAP) / rows
        wide = min(wide, max(high, 1.0) * shape)
        if wide > best.cell[0]:
            best = Grid(columns, (wide, wide / shape))
    return best


def _chosen(pictures: Sequence[tuple[Image.Image, str]]) -> Sequence[tuple[Image.Image, str]]:
    """Return at most six pictures, spread evenly over all of them."""
    if len(pictures) <= MOST_PICTURES:
        return pictures
    step = (len(pictures) - 1) / (MOST_PICTURES - 1)
    return [pictures[round(place * step)] for place in range(MOST_PICTURES)]


def _foot(sheet: Sheet, content: PageContent) -> float:
    """Write where the result comes from and what it is not, at the bottom; return where that begins."""
    limits = [wrapped(limit, Face.TEXT, 7.5, within=INNER, most=3) for limit in content.limits]
    lines = [line for group in limits for line in group]
    top = HEIGHT - 38 - 10.5 * (len(content.origin) + len(lines)) - 8
    sheet.line(top)
    y = top + 13
    for fact in content.origin:
        sheet.text(MARGIN, y, fact.name, _LABEL)
        sheet.text(MARGIN + _ORIGIN_LABEL, y, _in(fact.value, INNER - _ORIGIN_LABEL), Lettering(7.5))
        y += 10.5
    y += 4
    for line in lines:
        sheet.text(MARGIN, y, line, Lettering(7.5))
        y += 10.5
    sheet.line(HEIGHT - 32)
    sheet.text(MARGIN, HEIGHT - 22, _in(content.footer, INNER, size=6.0), Lettering(6.0, ink=Ink.GREY))
    return top - 12


def _in(text: str, within: float, size: float = 7.5) -> str:
    return fitted(text, Face.TEXT, size, within=within)
