"""A picture with its caption, as the pixels of a secondary capture.

The picture stays as it is, but for the numbers beside lesions where there are several: texts, orientation letters and
the scale stand around it, so that nothing of the image is covered.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy import bool_, uint8
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, UnidentifiedImageError

from dicom_gateway.errors import SourceUnusable
from dicom_gateway.objects.captions import NOT_FOR_DIAGNOSIS, Caption

_NARROWEST = 480
_BLACK, _WHITE, _GREY, _YELLOW = (0, 0, 0), (255, 255, 255), (170, 170, 170), (255, 196, 0)
_TEXT_SHARE = 42
_SMALLEST_TEXT, _LARGEST_TEXT = 15, 24
_BAR_CM = (10, 5, 2, 1)
_BAR_SHARE = 0.5
_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """What is drawn around and into a picture.

    ``edges`` are the orientation letters to the left, to the right, above and below, None where not known;
    ``pixel_mm`` the size of a pixel of the picture as it is, None where not known. ``lesions`` are the masks of the
    numbered lesions on the image's own grid, which get their number beside them where there are several.
    """

    caption: Caption
    edges: tuple[str, str, str, str] | None = None
    pixel_mm: float | None = None
    lesions: Mapping[int, NDArray[bool_]] | None = None


def picture_size(png: bytes) -> tuple[int, int]:
    """Return width and height of a picture; SourceUnusable where it is none."""
    return _opened(png).size


def draw_capture(png: bytes, layout: Layout) -> NDArray[uint8]:
    """Return the pixels ``[row, column, (red, green, blue)]`` of a capture; SourceUnusable where there is none."""
    picture = _opened(png).convert("RGB")
    canvas = _Canvas.for_picture(picture.width)
    head = canvas.wrapped((NOT_FOR_DIAGNOSIS, *layout.caption.findings))
    foot = canvas.wrapped(layout.caption.origin)
    scale_height = 2 * canvas.line if layout.pixel_mm else 0
    top = canvas.line * len(head) + canvas.margin
    bottom = top + picture.height + canvas.margin
    height = bottom + scale_height + canvas.line * len(foot) + canvas.gap
    image = Image.new("RGB", (canvas.width, height), _BLACK)
    left = (canvas.width - picture.width) // 2
    image.paste(picture, (left, top))
    draw = ImageDraw.Draw(image)
    draw.fontmode = "L"
    warnings = len(canvas.wrapped((NOT_FOR_DIAGNOSIS,)))
    canvas.write(draw, head, at=0, colours=[_YELLOW] * warnings + [_WHITE] * (len(head) - warnings))
    box = (left, top, left + picture.width, top + picture.height)
    _draw_edges(draw, box, layout.edges, canvas)
    _draw_numbers(draw, box, layout.lesions or {}, canvas)
    if layout.pixel_mm:
        _draw_scale(draw, (left, bottom), layout.pixel_mm, canvas, widest=_BAR_SHARE * picture.width)
    canvas.write(draw, foot, at=bottom + scale_height, colours=[_GREY] * len(foot))
    return np.asarray(image, dtype=uint8)


@dataclass(frozen=True, slots=True)
class _Canvas:
    """The sizes that a capture is laid out by, in pixels."""

    width: int
    font: _Font
    line: int
    margin: int
    gap: int

    @classmethod
    def for_picture(cls, width: int) -> _Canvas:
        size = min(max(width // _TEXT_SHARE, _SMALLEST_TEXT), _LARGEST_TEXT)
        margin = 2 * size
        wide = max(width + 2 * margin, _NARROWEST)
        # An even number of columns, which no decoder stumbles over.
        return cls(wide + wide % 2, ImageFont.load_default(size), round(1.35 * size), margin, size // 2)

    def wrapped(self, lines: Sequence[str]) -> list[str]:
        """Break lines between words where they are too long."""
        most = self.width - 2 * self.gap
        return [part for line in lines for part in _broken(line, lambda text: self.font.getlength(text) <= most)]

    def write(
        self, draw: ImageDraw.ImageDraw, lines: Sequence[str], *, at: int, colours: Sequence[tuple[int, int, int]]
    ) -> None:
        for number, (line, colour) in enumerate(zip(lines, colours, strict=True)):
            draw.text((self.gap, at + number * self.line + self.line // 2), line, colour, self.font, anchor="lm")


def _opened(png: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(png))
    except (UnidentifiedImageError, OSError) as error:
        raise SourceUnusable("a picture of the analysis cannot be read as an image") from error


def _broken(line: str, fits: Callable[[str], bool]) -> list[str]:
    parts: list[str] = []
    start = ""
    for word in line.split():
        longer = f"{start} {word}".strip()
        if start and not fits(longer):
            parts.append(start)
            longer = word
        start = longer
    return [*parts, start]


def _draw_edges(
    draw: ImageDraw.ImageDraw,
    box: tuple[int, int, int, int],
    edges: tuple[str, str, str, str] | None,
    canvas: _Canvas,
) -> None:
    if edges is None:
        return
    left, top, right, bottom = box
    middle_x, middle_y, half = (left + right) // 2, (top + bottom) // 2, canvas.margin // 2
    places = ((left - half, middle_y), (right + half, middle_y), (middle_x, top - half), (middle_x, bottom + half))
    for place, letters in zip(places, edges, strict=True):
        draw.text(place, letters, _WHITE, canvas.font, anchor="mm")


def _draw_scale(
    draw: ImageDraw.ImageDraw, start: tuple[int, int], pixel_mm: float, canvas: _Canvas, *, widest: float
) -> None:
    """Draw a bar of whole centimetres with a tick at each, or of five millimetres in a picture of little more."""
    centimetres = next((length for length in _BAR_CM if 10.0 * length / pixel_mm <= widest), 0)
    length_mm, parts = (10.0 * centimetres, centimetres) if centimetres else (5.0, 5)
    x, y, tick = start[0], start[1] + canvas.line, canvas.gap
    end = x + length_mm / pixel_mm
    draw.line((x, y, round(end), y), _WHITE, 2)
    for part in range(parts + 1):
        mark = round(x + (end - x) * part / parts)
        draw.line((mark, y - tick, mark, y), _WHITE, 2)
    text = f"{centimetres} cm" if centimetres else "5 mm"
    draw.text((round(end) + canvas.gap, y - tick // 2), text, _WHITE, canvas.font, anchor="lm")


def _draw_numbers(
    draw: ImageDraw.ImageDraw,
    box: tuple[int, int, int, int],
    lesions: Mapping[int, NDArray[bool_]],
    canvas: _Canvas,
) -> None:
    """Write the number of each lesion beside it, where it covers none."""
    if len(lesions) <= 1:
        return
    left, top, right, bottom = box
    taken = np.any(list(lesions.values()), axis=0)
    enlarged = np.array(Image.fromarray(taken).resize((right - left, bottom - top), Image.Resampling.NEAREST))
    for number, mask in lesions.items():
        text = str(number)
        width, height = round(canvas.font.getlength(text)), canvas.line
        x, y = _free_place(enlarged, mask, (width + 2, height))
        draw.text((left + x, top + y), text, _YELLOW, canvas.font, stroke_width=1, stroke_fill=_BLACK)
        enlarged[y : y + height, x : x + width + 2] = True


def _free_place(taken: NDArray[bool_], mask: NDArray[bool_], size: tuple[int, int]) -> tuple[int, int]:
    """Return where a text covers the fewest pixels that are taken, of eight places around a lesion."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    (height, width), scale = taken.shape, (taken.shape[0] / mask.shape[0], taken.shape[1] / mask.shape[1])
    above, below = rows[0] * scale[0] - size[1] - 2, (rows[-1] + 1) * scale[0] + 2
    before, behind = columns[0] * scale[1] - size[0] - 3, (columns[-1] + 1) * scale[1] + 3
    middle_x, middle_y = (before + behind) / 2, (above + below) / 2
    places = (
        (behind, above), (behind, middle_y), (behind, below), (middle_x, below),
        (before, below), (before, middle_y), (before, above), (middle_x, above),
    )  # fmt: skip # reads by its lines
    inside = [
        (min(max(round(x), 0), max(width - size[0], 0)), min(max(round(y), 0), max(height - size[1], 0)))
        for x, y in places
    ]
    covered = [np.count_nonzero(taken[y : y + size[1], x : x + size[0]]) for x, y in inside]
    return inside[int(np.argmin(covered))]
