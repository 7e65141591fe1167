"""The sheet that the report page is drawn on: A4, in points from its top left corner, and the same bytes each time."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from PIL import Image
from reportlab.lib.colors import Color
from reportlab.lib.pagesizes import A4
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas

from dicom_gateway.objects.page_fonts import Face, Language, prepare, runs, width

WIDTH, HEIGHT = A4
MARGIN = 45.0
INNER = WIDTH - 2 * MARGIN
_PIXELS_PER_POINT = 3.0  # 216 dpi: more than a screen shows, and as much as paper keeps


class Ink(Enum):
    """The colours of the page, as red, green and blue in 0..1. Text on white has a contrast of at least 4.5."""

    BLACK = (0.10, 0.11, 0.13)
    GREY = (0.38, 0.41, 0.45)
    LINE = (0.80, 0.82, 0.85)
    WHITE = (1.0, 1.0, 1.0)
    RED = (0.66, 0.13, 0.11)
    ORANGE = (0.70, 0.33, 0.02)
    BLUE = (0.13, 0.34, 0.54)
    SLATE = (0.34, 0.39, 0.44)
    PAPER = (0.995, 0.955, 0.90)

    @property
    def colour(self) -> Color:
        """The colour as the PDF library takes it."""
        return Color(*self.value)


@dataclass(frozen=True, slots=True)
class Lettering:
    """How a line is set: weight, size in points, colour, and whose Chinese characters it has."""

    size: float
    face: Face = Face.TEXT
    ink: Ink = Ink.BLACK
    language: Language | None = None


class Sheet:
    """One page; every height counts down from the top edge, and text stands on its base line."""

    def __init__(self, *, title: str, author: str, moment: datetime) -> None:
        prepare()
        self._buffer = io.BytesIO()
        # Compressed by zlib at one level, dated by the caller, and with an identifier of its content: nothing random.
        self._canvas = Canvas(
            self._buffer,
            pagesize=A4,
            pageCompression=1,
            invariant=1,
            lang="en",
            initialFontName=Face.TEXT,  # type: ignore[arg-type]  # the stubs take it for a number
        )
        self._canvas.setTitle(title)
        self._canvas.setAuthor(author)
        self._canvas.setCreator(author)
        self._canvas.setDateFormatter(lambda *_: f"D:{moment.strftime('%Y%m%d%H%M%S')}{_zone(moment)}")

    def text(self, x: float, y: float, text: str, lettering: Lettering) -> float:
        """Write a line from the left and return where it ends."""
        for run in runs(text, lettering.face, language=lettering.language):
            self._canvas.setFillColor(lettering.ink.colour)
            self._canvas.setFont(run.font, lettering.size)
            self._canvas.drawString(x, HEIGHT - y, run.text)
            x += self._canvas.stringWidth(run.text, run.font, lettering.size)
        return x

    def text_to(self, right: float, y: float, text: str, lettering: Lettering) -> None:
        """Write a line that ends at ``right``."""
        length = width(text, lettering.face, lettering.size, language=lettering.language)
        self.text(right - length, y, text, lettering)

    def centred(self, centre: float, y: float, text: str, lettering: Lettering) -> None:
        """Write a line around a middle."""
        length = width(text, lettering.face, lettering.size, language=lettering.language)
        self.text(centre - length / 2, y, text, lettering)

    def line(self, y: float, ink: Ink = Ink.LINE, *, x: float = MARGIN, length: float = INNER) -> None:
        """Draw a hairline."""
        self._canvas.setStrokeColor(ink.colour)
        self._canvas.setLineWidth(0.5)
        self._canvas.line(x, HEIGHT - y, x + length, HEIGHT - y)

    def box(self, x: float, y: float, size: tuple[float, float], ink: Ink) -> None:
        """Fill a rectangle of (width, height) whose upper left corner is given."""
        self._canvas.setFillColor(ink.colour)
        self._canvas.rect(x, HEIGHT - y - size[1], *size, stroke=0, fill=1)

    def picture(self, x: float, y: float, size: tuple[float, float], picture: Image.Image) -> None:
        """Draw a picture in a rectangle of (width, height), with no more pixels than can be seen."""
        most = [max(1, round(side * _PIXELS_PER_POINT)) for side in size]
        if picture.width > most[0] or picture.height > most[1]:
            picture = picture.resize((most[0], most[1]), Image.Resampling.LANCZOS)
        self._canvas.drawImage(ImageReader(picture), x, HEIGHT - y - size[1], *size)

    def pdf(self) -> bytes:
        """End the page and return the file."""
        self._canvas.showPage()
        self._canvas.save()
        return self._buffer.getvalue()


def opened(pictures: Sequence[bytes]) -> tuple[Image.Image, ...]:
    """Read pictures of any kind that the library knows, in colour; OSError where one is none."""
    return tuple(Image.open(io.BytesIO(picture)).convert("RGB") for picture in pictures)


def _zone(moment: datetime) -> str:
    offset = moment.strftime("%z")
    return f"{offset[:3]}'{offset[3:5]}'"
